"""What is fuzzed of what people feed the command line: site files, and other systems' exports."""

from __future__ import annotations

from collections.abc import Callable

from bootserve.core.site.imports.dnsmasq import read_dnsmasq
from bootserve.core.site.imports.draft import Draft
from bootserve.core.site.imports.ethers import read_ethers
from bootserve.core.site.imports.netbox import NetBox
from bootserve.core.site.imports.warewulf import read_warewulf
from bootserve.core.site.loading import load_site
from bootserve.errors import InvalidInput
from bootserve.model.names import check_name, parse_mac
from tests.fuzz.target import Target, in_words

__all__ = ["TARGETS"]

FILE = "input.txt"


def _netbox(draft: Draft, text: str, file: str) -> None:
    netbox = NetBox()
    netbox.read(text, file)
    netbox.nodes(draft)


READERS: tuple[Callable[[Draft, str, str], None], ...] = (
    read_ethers,
    read_dnsmasq,
    _netbox,
    read_warewulf,
)


def imports(data: bytes) -> None:
    """A byte says whose file it is: nodes that there can be, or words that name the file."""
    if not data:
        return
    draft = Draft()
    try:
        READERS[data[0] % len(READERS)](draft, data[1:].decode("utf-8", "replace"), FILE)
    except InvalidInput as error:
        in_words(error, FILE)
        return
    assert all(note.startswith(FILE) for note in draft.notes)
    owners = [mac for one in draft.nodes.values() for mac in one.macs]
    assert len({*owners}) == len(owners)
    for name, one in draft.nodes.items():
        assert (check_name(name), one.name) == (name, name)
        assert one.macs == tuple(map(parse_mac, one.macs))


def site(data: bytes) -> None:
    """A site file: a state that there can be, or words that name the file."""
    try:
        found = load_site(data.decode("utf-8", "replace"), FILE)
    except InvalidInput as error:
        in_words(error, FILE)
        return
    for name, one in (found.nodes or {}).items():
        assert (check_name(name), one.name) == (name, name)
        assert one.macs == tuple(map(parse_mac, one.macs))


_SITE = (
    b"roles:\n  worker: {image: web}\nracks:\n  r1:\n    defaults: {role: worker}\n    nodes:\n"
    b'      r1n[01-02]: {macs: "3c:ec:ef:00:00:[01-02]", each: {address: "10.1.0.[11-12]"}}\n'
    b"nodes:\n  n9: {macs: [3c:ec:ef:00:01:01], labels: {a: b}}\npins:\n  site: web@1\n"
)

TARGETS = {
    "site": Target(
        site, lambda: [_SITE, b"nodes:\n  n1: 5\n", b"racks:\n  r1:\n    nodes: [n1]\n"]
    ),
    "imports": Target(
        imports,
        lambda: [b"\x003c:ec:ef:00:00:01 n1\n# a\n3c:ec:ef:00:00:02\tn2.example\n",
                 b"\1dhcp-host=3c:ec:ef:00:00:01,n1,10.1.0.1,set:r1,infinite\n",
                 b"\2device,name,mac_address,mgmt_only\nn1,eth0,3C:EC:EF:00:00:01,False\n",
                 b'\2{"results":[{"device":{"name":"n1"},"mac_address":"3c:ec:ef:00:00:01"}]}',
                 b"\3nodes:\n  n1:\n    network devices:\n      a: {hwaddr: 3c:ec:ef:0:0:1}\n"],
    ),
}  # fmt: skip
