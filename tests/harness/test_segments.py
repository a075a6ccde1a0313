"""Further networks of a lab: beside the first, behind a relay, as a VLAN."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vm_harness.errors import HarnessError
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.topology import HOME, RELAYED, Segment
from vm_harness.vlan import tag, untag

ADDRESSES = bytes(range(12))
ARP = ADDRESSES + b"\x08\x06" + bytes(46)


def lease(client: Namespace, segment: Segment) -> str:
    """Let busybox's DHCP client ask on ``segment`` and return what it says."""
    argv = ["busybox", "udhcpc", "-f", "-q", "-n", "-t", "20", "-T", "1", "-s", "/bin/true"]
    return client.run(["sh", "-c", " ".join([*argv, "-i", segment.interface, "2>&1"])])


@pytest.mark.parametrize("program", ["isc", "dnsmasq"])
def test_a_client_behind_the_relay_gets_a_lease_of_its_own_network(program: str) -> None:
    with Lab.create() as lab:
        segment = lab.add_relay(program)  # type: ignore[arg-type]
        assert "lease of 10.44.1." in lease(lab.client("far", "", segment=segment), segment)
        assert "lease of 10.44.0." in lease(lab.client("near", ""), HOME)


def test_a_further_segment_has_a_dhcp_server_of_its_own() -> None:
    with Lab.create() as lab:
        segment = lab.add_segment()
        assert "lease of 10.44.2." in lease(lab.client("c", "", segment=segment), segment)
        assert lab.dhcp.leases() == []
        assert len(lab.dhcp_servers[1].leases()) == 1


def test_a_relay_of_no_known_kind_is_refused() -> None:
    with Lab.create() as lab, pytest.raises(HarnessError, match="relay 'kea' is none of"):
        lab.add_relay("kea")  # type: ignore[arg-type]


def test_what_leaves_a_vlan_for_the_trunk_has_its_tag(tmp_path: Path) -> None:
    with Lab.create() as lab:
        segment = lab.add_vlan(100)
        client = lab.client("c", segment.address(50), segment=segment)
        with lab.capture(tmp_path / "trunk.pcap", filter="vlan 100 and udp port 9") as capture:
            to = f"{segment.address(77)}"
            client.ip("neigh", "add", to, "lladdr", "02:00:00:00:00:77", "dev", segment.interface)
            client.run(["bash", "-c", f"echo x >/dev/udp/{to}/9"])
            for _ in range(100):
                if capture.path.stat().st_size > 60:
                    break
                client.run(["sleep", "0.1"])
        shown = subprocess.run(
            ["tcpdump", "-ner", str(capture.path)], capture_output=True, text=True, check=True
        ).stdout
        assert "vlan 100" in shown
        assert f"{segment.address(50)}." in shown


@given(st.binary(min_size=14, max_size=1514), st.integers(1, 4094))
def test_a_tag_that_is_put_on_comes_off(frame: bytes, vid: int) -> None:
    tagged = tag(frame, vid)
    if frame[12:14] == b"\x81\x00":
        assert tagged is None
    else:
        assert tagged is not None
        assert len(tagged) == len(frame) + 4
        assert untag(tagged, vid) == frame


def test_frames_of_other_vlans_and_of_none_stay_on_the_trunk() -> None:
    tagged = tag(ARP, 100)
    assert tagged is not None
    assert tagged == ADDRESSES + b"\x81\x00\x00\x64" + ARP[12:]
    assert untag(tagged, 101) is None
    assert untag(ARP, 100) is None
    with_priority = ADDRESSES + b"\x81\x00\xe0\x64" + ARP[12:]
    assert untag(with_priority, 100) == ARP


def test_networks_have_numbers_bridges_and_addresses_of_their_own() -> None:
    assert (HOME.bridge, HOME.interface, HOME.address(2)) == ("br0", "eth1", "10.44.0.2")
    assert (RELAYED.bridge, RELAYED.interface, RELAYED.address(1)) == ("br1", "eth2", "10.44.1.1")
