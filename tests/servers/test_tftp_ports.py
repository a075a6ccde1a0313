"""Which port a transfer leaves from, and what comes to another."""

from __future__ import annotations

from bootserve.servers.tftp_engine import REQUESTS
from bootserve.servers.tftp_events import TftpEventKind
from bootserve.wire.tftp_packets import Ack, Data, Request
from tests.servers.test_tftp_engine import CLIENT, FILES, Bench

FAILED = TftpEventKind.FAILED


def test_a_proven_address_is_served_from_the_port_for_requests() -> None:
    """What it fetches from there proves nothing: ten minutes after the last proof it is over."""
    bench = Bench()
    ports = []
    for now in (0.0, 1.0, 2.0, 300.0, 600.0, 601.0, 602.0, 603.0):
        assert bench.send(Request("sub/empty"), now=now) == [Data(1, b"")]
        ports.append(bench.engine.port(CLIENT))
        assert bench.send(Ack(1), now=now) == []
    assert [port == REQUESTS for port in ports] == [False] * 2 + [True] * 3 + [False] * 2 + [True]


def test_a_late_copy_of_the_last_acknowledgement_is_not_taken_for_a_forgers() -> None:
    """Firmware may ask from one port for one file after the other."""
    bench = Bench()
    bench.send(Request("sub/empty"))
    first = bench.engine.port(CLIENT)
    assert bench.send(Ack(1)) == []
    (data,) = bench.send(Request("ipxe.efi"), now=0.1)
    assert bench.engine.port(CLIENT) != first
    assert bench.engine.receive(Ack(1).to_bytes(), CLIENT, first, 0.2) == ()
    assert data == Data(1, FILES["ipxe.efi"][:512])
    assert len(bench.send(Ack(1), now=0.3)) == 1


def test_what_is_remembered_of_transfers_that_ended_is_bounded() -> None:
    """Who is forgotten is taken for a forger by a copy that comes later still."""
    bench = Bench(max_transfers=3)
    clients = [(f"192.0.2.{number}", 1024) for number in range(4)]
    ports = []
    for client in clients:
        bench.send(Request("sub/empty"), client)
        ports.append(bench.engine.port(client))
        bench.send(Ack(1), client)
    for client, port in zip(clients, ports, strict=True):
        bench.send(Request("ipxe.efi"), client)
        bench.engine.receive(Ack(1).to_bytes(), client, port, 0.1)
    failed = [(event.client, event.detail) for event in bench.events if event.kind is FAILED]
    assert failed == [(clients[0], "the first answer came to another port: forged?")]
