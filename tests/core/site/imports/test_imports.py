"""What other systems' files become, and that what is not carried over is said line by line."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserve.core.site.imports.dnsmasq import read_dnsmasq
from bootserve.core.site.imports.draft import Draft
from bootserve.core.site.imports.ethers import read_ethers
from bootserve.core.site.imports.netbox import NetBox
from bootserve.core.site.imports.warewulf import read_warewulf
from bootserve.core.site.loading import load_site
from bootserve.core.site.writing import write_site
from bootserve.errors import InvalidInput
from bootserve.model.desired import DesiredState, Node, Role

SAMPLES = Path(__file__).parents[1] / "samples"


def draft_of(read: Callable[[Draft, str, str], None], name: str) -> Draft:
    draft = Draft()
    read(draft, (SAMPLES / name).read_text(), name)
    text = write_site(draft.state(), parts=True)
    assert load_site(text, "site.yaml").over(DesiredState()) == draft.state()
    return draft


def netbox(*names: str) -> Draft:
    found, draft = NetBox(), Draft()
    for name in names:
        found.read((SAMPLES / name).read_text(), name)
    found.nodes(draft)
    return draft


def labels(node: Node) -> dict[str, str]:
    return dict(node.labels)


def test_ethers() -> None:
    draft = draft_of(read_ethers, "ethers")
    assert set(draft.nodes) == {"r1n01", "r1n02.example.org", "ip-10-1-0-4"}
    assert draft.nodes["r1n01"].macs == ("3c:ec:ef:00:00:01", "3c:ec:ef:00:00:03")
    assert labels(draft.nodes["ip-10-1-0-4"]) == {"address": "10.1.0.4"}
    assert draft.notes == [
        "ethers:3: node 'R1N02.example.org' is called r1n02.example.org here",
        "ethers:5: 10.1.0.4 has no name here: it is called ip-10-1-0-4",
        "ethers:6: 'ff:ff:ff:ff:ff:ff' is not the address of a NIC (group or null address):"
        " left out",
        "ethers:7: this is no MAC address and host: left out",
        "ethers:8: 3c:ec:ef:00:00:01 belongs to node r1n01 already: left out here",
        "ethers:8: node r1n09 has no MAC address: left out",
    ]


def test_dnsmasq() -> None:
    draft = draft_of(read_dnsmasq, "dnsmasq.conf")
    assert set(draft.nodes) == {"r2n01", "r2n02", "r2n03", "ip-10-2-0-7", "r2n08"}
    assert labels(draft.nodes["r2n01"]) == {"address": "10.2.0.1"}
    assert draft.nodes["r2n02"].macs == ("3c:ec:ef:00:01:02", "3c:ec:ef:00:01:03")
    assert labels(draft.nodes["r2n02"]) == {"address": "10.2.0.2", "address-2": "10.2.0.2"}
    assert labels(draft.nodes["r2n03"]) == {"tag": "compute", "tag-2": "row-b"}
    assert draft.nodes["ip-10-2-0-7"].macs == ("3c:ec:ef:00:01:07",)
    assert draft.notes == [
        "dnsmasq.conf:5: lease time infinite is not carried over: it is the DHCP server's",
        "dnsmasq.conf:6: lease time 45m is not carried over: it is the DHCP server's",
        "dnsmasq.conf:7: 3c:ec:ef:*:*:*: a wildcard stands for no one machine: left out",
        "dnsmasq.conf:7: this host is known by no MAC address: left out",
        "dnsmasq.conf:8: id:01:02:03:04: it goes by a client id, which is not carried over",
        "dnsmasq.conf:8: this host is known by no MAC address: left out",
        "dnsmasq.conf:9: dnsmasq ignores this host: left out",
        "dnsmasq.conf:10: 06-00:20:e0:3b:13:af: not an Ethernet address: left out",
        "dnsmasq.conf:10: this host is known by no MAC address: left out",
        "dnsmasq.conf:11: this host has no name: it is called ip-10-2-0-7",
        "dnsmasq.conf:12: tag:known: it is for clients with a tag, which is not carried over",
        "dnsmasq.conf:12: [fd00::8]: IPv6 addresses are not carried over",
        "dnsmasq.conf:13: lease time 1h is not carried over: it is the DHCP server's",
        "dnsmasq.conf:13: this host is known by no MAC address: left out",
    ]


def test_a_hosts_file_of_dnsmasq() -> None:
    draft = draft_of(read_dnsmasq, "dnsmasq.hosts")
    assert set(draft.nodes) == {"r2n11", "r2n12"}
    assert labels(draft.nodes["r2n11"]) == {"address": "10.2.0.11"}
    assert draft.notes == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_netbox_csv(order: tuple[int, int]) -> None:
    files = ("netbox-devices.csv", "netbox-interfaces.csv")
    draft = netbox(*(files[place] for place in order))
    assert set(draft.nodes) == {"r3n01", "r3n02"}
    one = draft.nodes["r3n01"]
    assert (one.rack, one.role) == ("r3", "compute-node")
    assert one.macs == ("3c:ec:ef:00:02:01", "3c:ec:ef:00:02:02")
    assert labels(one) == {
        "address": "10.3.0.1",
        "position": "12",
        "serial": "CZ1",
        "site": "DC 1",
    }
    assert sorted(draft.notes) == [
        "netbox-devices.csv:2: rack 'R3' is called r3 here",
        "netbox-devices.csv:2: role 'Compute Node' is called compute-node here",
        "netbox-devices.csv:3: device r3n02 is planned in NetBox, and a node here",
        "netbox-devices.csv:4: device r3sw1 has no interface with a MAC address: left out",
        "netbox-devices.csv:5: a device without a name: left out",
        "netbox-interfaces.csv:4: r3n01 ipmi is for management only: left out",
        "netbox-interfaces.csv:7: device 'r3n99' is not among the devices: left out",
    ]


def test_netbox_json() -> None:
    draft = netbox("netbox-devices.json", "netbox-interfaces.json")
    one, two = draft.nodes["r3n01"], draft.nodes["r3n02"]
    assert (one.rack, one.role, one.macs) == ("r3", "compute-node", ("3c:ec:ef:00:02:01",))
    assert labels(one) == {
        "address": "10.3.0.1",
        "position": "12",
        "serial": "CZ1",
        "site": "dc-1",
    }
    assert (two.rack, two.macs) == ("", ("3c:ec:ef:00:02:03",))
    assert "netbox-devices.json (result 2): device r3n02 is offline in NetBox, and a node here" in (
        draft.notes
    )


def test_warewulf() -> None:
    draft = draft_of(read_warewulf, "nodes.conf")
    assert set(draft.nodes) == {"n0001", "n0002"}
    one, two = draft.nodes["n0001"], draft.nodes["n0002"]
    assert one.macs == ("3c:ec:ef:00:03:01", "3c:ec:ef:00:03:02")
    assert (one.rack, one.role, one.image) == ("r4", "default", "")
    assert one.kernel_args == two.kernel_args == "quiet console=ttyS1,115200"
    assert labels(one) == {"address": "10.4.0.1", "address-2": "10.5.0.1"}
    assert (two.role, labels(two)) == ("gpu", {"address": "10.4.0.2", "partition": "gpu"})
    assert draft.roles == {
        "default": Role("default", "rocky-9"),
        "gpu": Role("gpu", "rocky-9-cuda"),
    }
    assert draft.notes == [
        "nodes.conf:6: profile default: 'runtime overlay' is not carried over",
        "nodes.conf:10: profile default: 'override' is not carried over",
        "nodes.conf:14: profile default, default: 'netmask' is not carried over",
        "nodes.conf:32: node n0001: 'ipmi' is not carried over",
        "nodes.conf:45: node n0003 has no MAC address: left out",
    ]


def read_netbox(draft: Draft, text: str, file: str) -> None:
    found = NetBox()
    found.read(text, file)
    found.nodes(draft)


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (read_netbox, "", "names no column 'name'"),
        (read_netbox, "a,b\n1,2\n", "names no column 'name'"),
        (read_netbox, "{", "this is no JSON"),
        (read_netbox, "{}", "it has no 'results'"),
        (read_netbox, '{"results": [], "next": "http://x"}', "one page of several"),
        (read_netbox, '[{"x": 1}]', "neither a device nor a name"),
        (read_netbox, "name\n" + "x" * 200_000, "x:2: this is no CSV: field larger"),
        (read_warewulf, "a: b\n", "it has no 'nodes'"),
        (read_warewulf, "a: [\n", "x:1: this is no YAML"),
    ],
)
def test_what_is_something_else(
    read: Callable[[Draft, str, str], None], text: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        read(Draft(), text, "x")


def test_interfaces_without_names() -> None:
    draft = Draft()
    text = "device,mac_address,mgmt_only\nn1,52:54:00:00:00:01,\nn1,52:54:00:00:00:02,true\n"
    read_netbox(draft, text, "x")
    assert draft.nodes["n1"].macs == ("52:54:00:00:00:01",)
    assert draft.notes == ["x:3: n1  is for management only: left out"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_lines_of_every_system(end: str) -> None:
    draft = Draft()
    lines = ["device,name,mac_address", "n1,eth0,52:54:00:00:00:01", "n2,eth0,52:54:00:00:00:02"]
    read_netbox(draft, end.join(lines), "x")
    assert list(draft.nodes) == ["n1", "n2"]


def test_an_interface_with_a_very_long_number() -> None:
    draft = Draft()
    read_netbox(draft, f"device,name,mac_address\nn1,{'1' * 9000},52:54:00:00:00:01\n", "x")
    assert list(draft.nodes) == ["n1"]


def test_a_profile_that_is_no_list() -> None:
    draft = Draft()
    device = "{default: {hwaddr: 52:54:00:00:00:01}}"
    profile = "nodeprofiles: {default: {container name: rocky}}"
    node = f"nodes: {{n1: {{profiles: default, network devices: {device}}}}}"
    read_warewulf(draft, f"{profile}\n{node}\n", "x")
    assert (draft.nodes["n1"].role, draft.roles["default"].image) == ("default", "rocky")


MAC = "52:54:00:00:00:01"
WORDS: dict[Callable[[Draft, str, str], None], str] = {
    read_ethers: f"{MAC}|n1|10.0.0.1|#| |\n|ff:ff:ff:ff:ff:ff",
    read_dnsmasq: f"dhcp-host=|11-{MAC}|{MAC}|*:54:00:00:00:01|,|10.0.0.1|n1|set:|tag:|id:|[|]"
    '|ignore|9999999999|infinite|\n|#|"',
    read_netbox: f"device|name|mac_address|mgmt_only|true|Rack position|IP Address|{MAC}"
    '|,|\n|\r|"|\0|10.0.0.1/x|x|²|٣',
    read_warewulf: f"nodes|nodeprofiles|profiles|network devices|hwaddr|{MAC}|kernel|args|tags"
    "|: |\n|\n  |\n    |- |{|}|[|]|n1|!x |&a |*a",
}
KEYS = st.sampled_from([*"|".join(WORDS.values()).split("|"), "results", "next"])
DATA = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("read", list(WORDS))
@settings(max_examples=150)
@given(data=st.data())
def test_any_text_is_read_or_refused(
    read: Callable[[Draft, str, str], None], data: st.DataObject
) -> None:
    words = st.lists(st.sampled_from(WORDS[read].split("|")), max_size=25).map("".join)
    inside = DATA.map(lambda one: json.dumps({"nodes": {"n1": one}, "results": [one]}))
    text = data.draw(words | inside | DATA.map(json.dumps) | st.text())
    draft = Draft()
    with suppress(InvalidInput):
        read(draft, text, "x")
    site = write_site(draft.state(), parts=True)
    assert load_site(site, "site.yaml").over(DesiredState()) == draft.state()
