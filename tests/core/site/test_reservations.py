"""What is exported for DHCP servers passes their own checks of a configuration."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bootserve.core.site.imports.dnsmasq import read_dnsmasq
from bootserve.core.site.imports.draft import Draft
from bootserve.core.site.reservations import (
    parse_subnet,
    reservations_of,
    to_dnsmasq,
    to_isc,
    to_kea,
)
from bootserve.errors import InvalidInput
from bootserve.model.desired import DesiredState, Node
from tests.support.debs import Unpacked, unpacked
from tests.support.sites import mac

NAMES = ["n1", "7", "45m", "ignore", "a_b", "a.example.org", "a..b", "1e3", "fixed-address"]
Check = Callable[[str], "subprocess.CompletedProcess[str]"]


def site() -> DesiredState:
    """Nodes with odd names, with several NICs, with shared addresses and without any."""
    nodes = [
        Node(name, (mac(place),), labels=(("address", f"10.1.0.{place + 1}"),))
        for place, name in enumerate(NAMES)
    ]
    nodes += [
        Node(
            "two",
            (mac(101), mac(102)),
            labels=(("address", "10.1.0.101"), ("address-2", "10.2.0.101")),
        ),
        Node(
            "one",
            (mac(103), mac(104)),
            labels=(("address", "10.1.0.103"), ("address-2", "10.1.0.103")),
        ),
        Node("none", (mac(105), mac(106))),
    ]
    return DesiredState(nodes={node.name: node for node in nodes})


@pytest.fixture(scope="module")
def servers() -> Unpacked:
    return unpacked("dhcp", ["kea-dhcp4-server", "isc-dhcp-server"])


@pytest.fixture
def kea(servers: Unpacked, tmp_path: Path) -> Check:
    def check(text: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "kea.json"
        file.write_text(text)
        folder = str(tmp_path)
        own = {"KEA_LOCKFILE_DIR": folder, "KEA_PIDFILE_DIR": folder}
        return servers.run("usr/sbin/kea-dhcp4", "-t", file, **own)

    return check


@pytest.fixture
def isc(servers: Unpacked, tmp_path: Path) -> Check:
    def check(text: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "dhcpd.conf"
        file.write_text(text)
        return servers.run("usr/sbin/dhcpd", "-t", "-cf", file, "-lf", "/dev/null")

    return check


@pytest.fixture
def dnsmasq(tmp_path: Path) -> Check:
    def check(text: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "dnsmasq.conf"
        file.write_text(text)
        argv = ["dnsmasq", "--test", "-C", str(file)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    return check


def test_kea_takes_it(kea: Check) -> None:
    found = reservations_of(site())
    for subnets in ([], [parse_subnet("10.1.0.0/16")]):
        text = to_kea(found, subnets)
        done = kea(text)
        assert done.returncode == 0, done.stderr
        dhcp = json.loads(text)["Dhcp4"]
        here = dhcp["subnet4"][0]["reservations"] if subnets else dhcp["reservations"]
        assert {"hw-address": mac(0), "hostname": "n1", "ip-address": "10.1.0.1"} in here
        assert {"hw-address": mac(105), "hostname": "none"} in dhcp["reservations"]
        assert {"hw-address": mac(102), "hostname": "two", "ip-address": "10.2.0.101"} in (
            dhcp["reservations"]
        )
    assert kea(to_kea([])).returncode == 0
    assert kea(text.replace(mac(0), "no mac")).returncode != 0, "its check finds nothing"


def test_isc_takes_it(isc: Check) -> None:
    text = to_isc(reservations_of(site()))
    done = isc(text)
    assert done.returncode == 0, done.stderr
    assert (
        "host n1 {\n  hardware ethernet 52:54:00:00:00:00;\n  fixed-address 10.1.0.1;\n"
        '  option host-name "n1";\n}\n'
    ) in text
    assert text.count('"two"') == 2
    assert isc(text.replace(mac(0), "no mac")).returncode != 0, "its check finds nothing"


def test_dnsmasq_takes_it_and_it_reads_back(dnsmasq: Check) -> None:
    text = to_dnsmasq(reservations_of(site()))
    done = dnsmasq(text)
    assert done.returncode == 0, done.stderr
    lines = text.splitlines()
    assert "dhcp-host=52:54:00:00:00:67,52:54:00:00:00:68,10.1.0.103,one" in lines
    assert "dhcp-host=52:54:00:00:00:69,52:54:00:00:00:6a,none" in lines
    assert "dhcp-host=52:54:00:00:00:02,10.1.0.3" in lines
    assert dnsmasq(text.replace(mac(0), "-no-mac")).returncode != 0, "its check finds nothing"
    draft = Draft()
    read_dnsmasq(draft, text, "nodes.conf")
    plain = {name: node for name, node in site().nodes.items() if name not in NAMES[1:4]}
    assert {name: draft.nodes[name] for name in plain} == plain


def test_addresses_that_cannot_be_written_are_all_named() -> None:
    state = site()
    bad = replace(state.nodes["n1"], labels=(("address", "10.1.0.300"),))
    same = replace(state.nodes["none"], labels=(("address-2", "10.2.0.101"),))
    with pytest.raises(InvalidInput) as told:
        reservations_of(replace(state, nodes={**state.nodes, "n1": bad, "none": same}))
    assert "node n1: label address is '10.1.0.300'" in str(told.value)
    assert "10.2.0.101 belongs to node none and to node two" in str(told.value)
    with pytest.raises(InvalidInput, match="is not a subnet"):
        parse_subnet("10.1.0.1/16")
