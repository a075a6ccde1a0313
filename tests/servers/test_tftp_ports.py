"""Which port a transfer leaves from, and what comes to another."""

from __future__ import annotations

import pytest

from bootserve.servers.tftp_engine import REQUESTS
from bootserve.servers.tftp_events import TftpEventKind
from bootserve.wire.tftp_packets import Ack, Data, Error, Packet, Request
from tests.servers.test_tftp_engine import CLIENT, FILES, Bench

PROBE = Request("ipxe.efi", options=(("tsize", "0"),))


def test_what_follows_a_size_probe_leaves_from_the_port_for_requests() -> None:
    """So OVMF's NBP does, which asks for the size first."""
    bench = Bench()
    assert len(bench.send(PROBE)) == 1
    assert bench.engine.port(CLIENT) != REQUESTS
    bench.send(Error(8, "User aborted the transfer"), now=0.1)
    assert len(bench.send(Request("ipxe.efi"), now=0.2)) == 1
    assert bench.engine.port(CLIENT) == REQUESTS
    assert bench.send(Ack(1), now=0.3) == [Data(2, FILES["ipxe.efi"][512:1024])]


def test_a_size_probe_costs_no_credit() -> None:
    """A node may be started often within ten minutes, and probes each time."""
    bench = Bench()
    bench.send(PROBE)
    for now in range(1, 300):
        bench.send(Error(8, "User aborted the transfer"), now=now)
        assert len(bench.send(PROBE, now=now + 0.5)) == 1
        assert bench.engine.port(CLIENT) == REQUESTS


def test_what_comes_to_the_port_for_requests_prolongs_no_trust() -> None:
    """Ten minutes after the last answer that proved something the next transfer is apart."""
    bench = Bench()
    ports = []
    for now in (0.0, 1.0, 300.0, 599.0, 600.0, 601.0):
        assert bench.send(Request("sub/empty"), now=now) == [Data(1, b"")]
        ports.append(bench.engine.port(CLIENT))
        assert bench.send(Ack(1), now=now) == []
    assert [port == REQUESTS for port in ports] == [False, True, True, True, False, True]


def test_each_transfer_apart_has_a_port_of_its_own_and_gives_it_back() -> None:
    bench = Bench()
    clients = [(f"192.0.2.{number}", 2070) for number in range(9)]
    for client in clients:
        bench.send(PROBE, client)
    ports = [bench.engine.port(client) for client in clients]
    assert len({*ports}) == 9
    assert bench.engine.ended() == []
    for client in clients:
        bench.send(Error(8, "User aborted the transfer"), client)
    assert bench.engine.ended() == ports
    assert bench.engine.ended() == []


@pytest.mark.parametrize("packet", [Ack(0), Error(8, "User aborted the transfer"), Ack(1)])
def test_an_answer_to_another_port_is_nobodys(packet: Packet) -> None:
    """It ends nothing, and earns nothing."""
    bench = Bench()
    greeted = bench.send(PROBE)
    right = bench.engine.port(CLIENT)
    for port in (REQUESTS, right + 1):
        assert bench.engine.receive(packet.to_bytes(), CLIENT, port, 0.1) == ()
    assert bench.send(PROBE, now=1.0) == greeted
    assert bench.engine.port(CLIENT) == right
    assert bench.send(Ack(0), now=1.1) == [Data(1, FILES["ipxe.efi"][:512])]
    assert [event.kind for event in bench.events] == [TftpEventKind.STARTED]


def test_a_copy_of_a_request_by_the_network_costs_nothing() -> None:
    bench = Bench()
    for _ in range(9):
        bench.send(PROBE)
    assert [len(bench.send(PROBE, now=now)) for now in (1.0, 2.0, 3.0)] == [1, 1, 0]
