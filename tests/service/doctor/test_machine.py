"""Faults of the machine: interface, ports, firewall, clock."""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace

from bootserve.model.finding import Level
from bootserve.service.doctor import machine
from tests.service.doctor.conftest import Doctor
from tests.support.dnsmasq import dnsmasq
from tests.support.netns import inside

pytestmark = pytest.mark.netns

YEAR = 365.25 * 86400


@pytest.fixture
def server(lab: Lab) -> Iterator[Namespace]:
    """The server's namespace; its interface and its rules are as they were afterwards."""
    namespace = lab.network.server
    yield namespace
    namespace.ip("link", "set", "eth1", "up", "mtu", "1500")
    namespace.ip("address", "replace", "10.44.0.2/24", "dev", "eth1")
    namespace.run(["nft", "flush", "ruleset"])


# --- interface ---------------------------------------------------------------------------------


def test_an_interface_that_is_down(doctor: Doctor, server: Namespace) -> None:
    server.ip("link", "set", "eth1", "down")
    found = doctor.finds("interface", "eth1 is down")
    assert found.action == "Set it up: ip link set eth1 up."


def test_an_interface_without_a_carrier(doctor: Doctor, server: Namespace, lab: Lab) -> None:
    lab.network.switch.ip("link", "set", "0-server", "down")
    try:
        deadline = time.monotonic() + 30
        while "NO-CARRIER" not in server.ip("link", "show", "eth1"):  # the kernel takes its time
            assert time.monotonic() < deadline
            time.sleep(0.05)
        doctor.finds("interface", "eth1 has no carrier")
    finally:
        lab.network.switch.ip("link", "set", "0-server", "up")


def test_an_interface_without_an_address(doctor: Doctor, server: Namespace) -> None:
    server.ip("address", "flush", "dev", "eth1")
    doctor.finds("interface", "eth1 has no IPv4 address")


def test_an_interface_with_a_small_mtu(doctor: Doctor, server: Namespace) -> None:
    server.ip("link", "set", "eth1", "mtu", "1400")
    doctor.finds("interface", "eth1 has MTU 1400", Level.WARNING)


def test_interfaces_and_addresses_that_are_not_there(doctor: Doctor) -> None:
    doctor.finds("interface", "there is no eth7", interface="eth7")
    doctor.finds("interface", "no interface to serve on", interface=())
    doctor.finds("interface", "10.9.9.9 is not an address of this machine", address="10.9.9.9")
    doctor.finds("interface", "lo is the loopback", interface="lo")


# --- ports -------------------------------------------------------------------------------------


def test_a_tftp_port_that_is_taken(doctor: Doctor, server: Namespace) -> None:
    with inside(server.name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker:
        taker.bind(("0.0.0.0", 69))
        found = doctor.finds("ports", "UDP 69 (TFTP) is taken by ")
    assert "(pid " in found.found
    assert "--tftp-port" in found.action


def test_a_dhcp_server_on_the_same_machine_is_named(doctor: Doctor, server: Namespace) -> None:
    with dnsmasq(server):
        found = doctor.finds("ports", "UDP 67 (DHCP) is taken by dnsmasq (pid ")
    assert found.action.startswith("Stop it, or give bootserve another port")


def test_a_port_that_is_bound_elsewhere_is_free(doctor: Doctor, server: Namespace) -> None:
    with inside(server.name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        other.bind(("0.0.0.0", 67))
        doctor.finds("ports", "UDP 67 (DHCP) is free", Level.OK)


def test_an_http_port_that_is_taken(doctor: Doctor, server: Namespace) -> None:
    with inside(server.name), socket.socket() as taker:
        taker.bind(("10.44.0.2", 8080))
        taker.listen()
        doctor.finds("ports", "TCP 8080 (boot plane HTTP) is taken by ")


def test_several_interfaces_are_told_apart(doctor: Doctor, lab: Lab, server: Namespace) -> None:
    server.ip("link", "add", "eth9", "type", "veth", "peer", "name", "eth9p")
    try:
        for name in ("eth9", "eth9p"):
            server.ip("link", "set", name, "up")
        server.ip("address", "add", "10.44.9.2/24", "dev", "eth9")
        with inside(server.name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker:
            taker.bind(("10.44.9.2", 69))
            doctor.finds("ports", "UDP 69 (TFTP) of eth9 is taken by ", interface="eth1,eth9")
            doctor.finds("ports", "UDP 69 (TFTP) of eth1 is free", Level.OK,
                         interface="eth1,eth9")  # fmt: skip
    finally:
        server.ip("link", "del", "eth9")


# --- firewall ----------------------------------------------------------------------------------

TABLE = "add table inet filter; add chain inet filter input { type filter hook input priority 0; "


@pytest.mark.parametrize(
    ("rules", "port"),
    [
        (TABLE + "}; add rule inet filter input udp dport 69 drop", "UDP 69 (TFTP)"),
        (TABLE + "}; add rule inet filter input iifname eth1 udp dport { 60-67 } counter reject",
         "UDP 67 (DHCP)"),
        (TABLE + "policy drop; }; add rule inet filter input udp dport { 67, 69, 4011 } accept; "
         "add rule inet filter input iifname lo accept; "
         "add rule inet filter input ct state established accept", "TCP 8080 (boot plane HTTP)"),
        ("add table ip raw; add chain ip raw pre { type filter hook input priority -300; }; "
         "add chain ip raw sub; add rule ip raw sub meta l4proto udp th dport 4011 drop; "
         "add rule ip raw pre jump sub", "UDP 4011 (PXE boot server)"),
    ],
)  # fmt: skip
def test_a_firewall_that_drops(doctor: Doctor, server: Namespace, rules: str, port: str) -> None:
    server.run(["nft", rules])
    found = doctor.finds("firewall", "nftables drops ")
    assert f"nftables drops {port} on eth1" in found.found


def test_a_firewall_that_drops_what_clients_answer(doctor: Doctor, server: Namespace) -> None:
    accept = "add rule inet filter input"
    ports = "udp dport { 67, 69, 4011 } accept"
    server.run(
        [
            "nft",
            f"{TABLE} policy drop; }}; {accept} {ports}; {accept} tcp dport 8080 accept;"
            f"{accept} iifname lo accept",
        ]
    )
    found = doctor.finds("firewall", "nftables drops what nodes answer to a TFTP transfer")
    assert "policy drop" in found.found
    assert found.action.endswith("iifname eth1 ct state established accept.")


def test_a_firewall_that_lets_clients_in(doctor: Doctor, server: Namespace) -> None:
    accept = "add rule inet filter input"
    server.run(
        [
            "nft",
            f"{TABLE} policy drop; }}; {accept} ct state established,related accept;"
            f"{accept} ip saddr 192.0.2.1 tcp dport 22 drop; {accept} iifname lo accept;"
            f"{accept} iifname eth* udp dport 67-69 accept; {accept} udp dport 4011 accept;"
            f"{accept} tcp dport {{ 22, 8080 }} log accept",
        ]
    )
    doctor.finds("firewall", "nftables lets clients reach every port", Level.OK)


def test_a_rule_that_cannot_be_judged_is_shown(doctor: Doctor, server: Namespace) -> None:
    server.run(
        ["nft", TABLE + "}; add rule inet filter input ip saddr 10.44.0.0/24 udp dport 69 drop"]
    )
    found = doctor.finds("firewall", "depends on inet filter input, handle ", Level.WARNING)
    assert "UDP 69 (TFTP)" in found.found


# --- clock --------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "year"), [(0.0, "1970"), (200 * YEAR, "2170")])
def test_a_clock_of_another_age(doctor: Doctor, now: float, year: str) -> None:
    found = doctor.finds("clock", f"it says {year}", clock=lambda: now)
    assert "chrony" in found.action


def test_a_clock_that_nothing_keeps(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "is_synchronised", lambda: False)
    doctor.finds("clock", "nothing keeps it in step", Level.WARNING)


class Timex(ctypes.Structure):
    """What adjtimex(2) fills in: the beginning as its page has it, and room for the rest."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    ]


def test_the_kernel_is_asked_whether_the_clock_is_kept() -> None:
    timex = Timex()
    assert ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) >= 0
    assert machine.is_synchronised() is not bool(timex.status & 0x40)  # STA_UNSYNC


@pytest.mark.parametrize(
    ("status", "kept"), [(0x40, False), (0x41, False), (0, True), (0x2001, True), (0xBF, True)]
)
def test_a_clock_is_kept_unless_the_kernel_says_that_it_is_not(
    monkeypatch: pytest.MonkeyPatch, status: int, kept: bool
) -> None:
    def adjtimex(buffer: Any) -> int:
        assert bytes(buffer)[:4] == bytes(4)  # modes: nothing is set
        ctypes.memmove(ctypes.addressof(buffer) + Timex.status.offset, struct.pack("i", status), 4)
        return 5 if status & 0x40 else 0

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(adjtimex=adjtimex))
    assert machine.is_synchronised() is kept


def test_a_kernel_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(adjtimex=lambda _: -1))
    with pytest.raises(OSError):  # noqa: PT011 - its words are the C library's
        machine.is_synchronised()
