"""Who is served, how many at once and how much is sent to whom: the server without its socket."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.errors import NotFound, Unresolvable
from bootserve.servers.tftp_engine import REQUESTS, Outgoing, TftpEngine, find_file
from bootserve.servers.tftp_events import TftpEvent, TftpEventKind
from bootserve.wire.tftp_options import Limits
from bootserve.wire.tftp_packets import Ack, Data, Error, OptionAck, Options, Packet, Request, parse

FILES = {"ipxe.efi": random.Random(7).randbytes(20_000), "sub/empty": b""}
CLIENT = ("192.0.2.7", 2070)
STARTED, COMPLETED = TftpEventKind.STARTED, TftpEventKind.COMPLETED
PROBED, FAILED, REFUSED = TftpEventKind.PROBED, TftpEventKind.FAILED, TftpEventKind.REFUSED


def lookup(name: str) -> bytes:
    return find_file(_read, name)


def _read(name: str) -> bytes:
    if name == "unreadable":
        raise OSError(5, "Input/output error")
    if name == "hold":
        raise Unresolvable("the pin cannot be followed: 図")
    try:
        return FILES[name]
    except KeyError:
        raise NotFound(f"no file {name}") from None


class Bench:
    """An engine, its events, and the packets it sends in answer to packets."""

    def __init__(self, *, max_transfers: int = 4096, max_per_address: int = 1024) -> None:
        self.events: list[TftpEvent] = []
        self.engine = TftpEngine(
            lookup=lookup,
            on_event=self.events.append,
            limits=Limits(),
            max_transfers=max_transfers,
            max_per_address=max_per_address,
        )

    def send(
        self, packet: Packet, client: tuple[str, int] = CLIENT, now: float = 0.0
    ) -> list[Packet]:
        """Send to the port of the client's transfer, and a request to that for requests."""
        port = REQUESTS if isinstance(packet, Request) else self.engine.port(client)
        outgoing = self.engine.receive(packet.to_bytes(), client, port, now)
        assert all(to == client for _, to, _ in outgoing)
        return [parse(bytes(datagram)) for datagram, *_ in outgoing]

    def fetch(
        self, name: str, client: tuple[str, int] = CLIENT, options: Options = (), now: float = 0.0
    ) -> bytes:
        """Fetch a whole file in lock-step."""
        received = b""
        replies = self.send(Request(name, options=options), client, now)
        while replies:
            (reply,) = replies
            assert not isinstance(reply, Error), reply
            block = reply.block if isinstance(reply, Data) else 0
            received += reply.payload if isinstance(reply, Data) else b""
            now += 0.0001
            replies = self.send(Ack(block), client, now)
        return received

    def kinds(self) -> list[TftpEventKind]:
        return [event.kind for event in self.events]

    def still_serves(self, now: float = 1000.0) -> bool:
        """Whether a client that was never seen before gets a file."""
        return self.fetch("ipxe.efi", ("198.51.100.1", 1024), now=now) == FILES["ipxe.efi"]


def test_a_file_is_served_and_told_of() -> None:
    bench = Bench()
    assert bench.fetch("ipxe.efi", options=(("blksize", "1432"),)) == FILES["ipxe.efi"]
    assert len(bench.engine) == 0
    started, completed = bench.events
    assert (started.kind, started.client, started.filename) == (STARTED, CLIENT, "ipxe.efi")
    assert completed.kind is COMPLETED
    assert (completed.bytes_sent, completed.blksize, completed.windowsize) == (20_000, 1432, 1)
    assert completed.seconds == pytest.approx(0.0015)


@pytest.mark.parametrize("name", ["ipxe.efi", "/ipxe.efi", "//ipxe.efi", "./ipxe.efi"])
def test_the_servers_root_may_be_named(name: str) -> None:
    assert Bench().fetch(name) == FILES["ipxe.efi"]


def test_the_two_requests_of_ovmf() -> None:
    bench = Bench()
    probe = Request("ipxe.efi", options=(("tsize", "0"), ("blksize", "1468"), ("windowsize", "4")))
    granted = (("tsize", "20000"), ("blksize", "1468"), ("windowsize", "4"))
    assert bench.send(probe) == [OptionAck(granted)]
    assert bench.send(Error(8, "User aborted the transfer"), now=0.1) == []
    second = Request("ipxe.efi", options=(("blksize", "1468"), ("windowsize", "4")))
    assert bench.send(second, now=0.2) == [OptionAck(granted[1:])]
    received, block = b"", 0
    while window := bench.send(Ack(block), now=0.3):
        for data in window:
            assert isinstance(data, Data)
            received += data.payload
            block = data.block
    assert received == FILES["ipxe.efi"]
    assert bench.kinds() == [STARTED, PROBED, STARTED, COMPLETED]


REFUSALS = [
    (Request("nothing"), 1, "no such file"),
    (Request(""), 1, "no such file"),
    (Request("/"), 1, "no such file"),
    (Request("."), 1, "no such file"),
    (Request("./"), 1, "no such file"),
    (Request("sub"), 1, "no such file"),
    (Request("sub/"), 1, "no such file"),
    (Request("/etc/passwd"), 1, "no such file"),
    (Request("C:\\boot.ini"), 1, "no such file"),
    (Request("../ipxe.efi"), 2, "leads out"),
    (Request("sub/../ipxe.efi"), 2, "leads out"),
    (Request("..\\..\\ipxe.efi"), 2, "leads out"),
    (Request("..."), 1, "no such file"),
    (Request("ipxe\xe9.efi"), 2, "not printable ASCII"),
    (Request("ipxe.efi\n"), 2, "not printable ASCII"),
    (Request("\x1b[2J"), 2, "not printable ASCII"),
    (Request("ipxe.efi", "netascii"), 2, "only mode octet"),
    (Request("ipxe.efi", "mail"), 2, "only mode octet"),
    (Request("ipxe.efi", ""), 2, "only mode octet"),
    (Request("ipxe.efi", write=True), 2, "read-only"),
    (Request("new", options=(("blksize", "512"),), write=True), 2, "read-only"),
    (Request("unreadable"), 0, "cannot be read"),
    (Request("hold"), 0, "the pin cannot be followed"),
]


@pytest.mark.parametrize(("asked", "code", "says"), REFUSALS)
def test_what_is_refused_is_told_to_the_client_and_to_the_log(
    asked: Request, code: int, says: str
) -> None:
    bench = Bench()
    (reply,) = bench.send(asked)
    assert isinstance(reply, Error)
    assert (reply.code, says in reply.message) == (code, True)
    (event,) = bench.events
    assert event.kind is REFUSED
    assert says in event.detail
    assert event.filename.isascii()
    assert event.filename == "" or event.filename.isprintable()
    assert bench.still_serves()


MALFORMED = [
    b"\0\1ipxe.efi",
    b"\0\1ipxe.efi\0",
    b"\0\1ipxe.efi\0octet",
    b"\0\1ipxe.efi\0octet\0blksize\0",
    b"\0\1ipxe.efi\0octet\0blksize\x00512",
    b"\0\1" + b"a" * 600 + b"\0octet\0",
    b"\0\2x",
    b"\0\1",
]


@pytest.mark.parametrize("data", MALFORMED)
def test_a_malformed_request_gets_one_clear_error(data: bytes) -> None:
    bench = Bench()
    ((datagram, to, _),) = bench.engine.receive(data, CLIENT, REQUESTS, 0.0)
    reply = parse(bytes(datagram))
    assert isinstance(reply, Error)
    assert (to, reply.code) == (CLIENT, 4)
    assert bench.kinds() == [REFUSED]
    assert bench.still_serves()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\0",
        b"\0\7x",
        b"\xff" * 1024,
        b"\0\4",
        b"\0\5",
        b"\0\3\0\1abc",
        b"\0\6a\0b\0",
    ],
)
def test_what_is_no_request_is_never_answered(data: bytes) -> None:
    bench = Bench()
    assert bench.engine.receive(data, CLIENT, REQUESTS, 0.0) == ()
    assert bench.events == []
    assert bench.still_serves()


def test_an_error_or_ack_of_no_transfer_is_never_answered() -> None:
    bench = Bench()
    assert bench.send(Error(5, "unknown transfer")) == []
    assert bench.send(Ack(1)) == []
    assert bench.events == []


@given(st.lists(st.tuples(st.binary(max_size=700), st.integers(1, 3)), max_size=30))
def test_random_datagrams_never_raise_and_leave_the_server_serving(
    datagrams: list[tuple[bytes, int]],
) -> None:
    bench = Bench()
    for i, (data, port) in enumerate(datagrams):
        client = ("192.0.2.7", port)
        for to in {REQUESTS, 1, bench.engine.port(client)}:
            bench.engine.receive(data, client, to, i / 10)
        bench.engine.handle_timer(i / 10)
    assert bench.still_serves()


@given(st.binary(max_size=80), st.sampled_from([b"\0\1", b"\0\2", b"\0\4", b"\0\5"]))
def test_random_requests_never_raise_and_leave_the_server_serving(
    rest: bytes, opcode: bytes
) -> None:
    bench = Bench()
    bench.send(Request("ipxe.efi"))
    for port in (bench.engine.port(CLIENT), REQUESTS):
        bench.engine.receive(opcode + rest, CLIENT, port, 0.1)
        bench.engine.receive(opcode + rest, ("192.0.2.8", 9), port, 0.1)
    assert bench.still_serves()


def run_until(bench: Bench, end: float) -> list[Outgoing]:
    """Run the engine's timers until ``end`` or until it wants no more; return what it sends."""
    sent: list[Outgoing] = []
    while (when := bench.engine.timer()) is not None and when < end:
        sent.extend(bench.engine.handle_timer(when))
    return sent


@pytest.mark.parametrize(
    "asked",
    [
        Request("ipxe.efi"),
        Request("ipxe.efi", options=(("windowsize", "64"), ("blksize", "1468"))),
        Request("nothing"),
        Request("ipxe.efi", write=True),
    ],
)
def test_at_most_three_datagrams_go_to_an_address_that_has_not_answered(asked: Request) -> None:
    """In an hour of requests from 250 ports: first at a rate of 50 a second, then of one."""
    bench = Bench()
    sent = 0
    for i in range(500 + 3600):
        now = min(i, 500) * 0.02 + max(0, i - 500)
        client = ("192.0.2.7", 1024 + i % 250)
        sent += len(bench.engine.receive(asked.to_bytes(), client, REQUESTS, now))
        sent += len(run_until(bench, now))
    assert sent == 3
    assert bench.still_serves(now=3610.0)


def test_an_address_with_many_clients_is_served_once_one_of_them_has_answered() -> None:
    bench = Bench()
    clients = [("192.0.2.7", port) for port in range(2000, 2050)]
    asked = Request("ipxe.efi", options=(("blksize", "1468"),)).to_bytes()
    greeted = [
        reply for client in clients for reply in bench.engine.receive(asked, client, REQUESTS, 0.0)
    ]
    assert len(greeted) == 3
    port = bench.engine.port(clients[0])
    released = bench.engine.receive(Ack(0).to_bytes(), clients[0], port, 0.001)
    assert isinstance(parse(bytes(released[0][0])), Data)
    assert [to for _, to, _ in released] == [clients[0], *clients[3:]]
    assert [port for _, to, port in released] == [bench.engine.port(to) for _, to, _ in released]
    assert all(isinstance(parse(bytes(datagram)), OptionAck) for datagram, *_ in released[1:])


def test_a_client_that_goes_silent_is_given_up_and_told_of() -> None:
    bench = Bench()
    bench.send(Request("ipxe.efi"), now=0.0)
    assert len(run_until(bench, 100.0)) == 2
    assert bench.kinds() == [STARTED, FAILED]
    assert bench.events[1].detail == "the client never answered"
    assert bench.events[1].seconds == pytest.approx(30.0, abs=0.2)
    assert bench.engine.timer() is None


def test_a_client_that_goes_silent_halfway_is_given_up_and_told_of() -> None:
    bench = Bench()
    bench.send(Request("ipxe.efi"), now=0.0)
    bench.send(Ack(1), now=0.5)
    assert len(run_until(bench, 100.0)) == 15
    assert bench.events[-1].detail == "the client fell silent"
    assert (bench.events[-1].bytes_sent, bench.events[-1].retransmissions) == (512, 15)
    assert bench.events[-1].seconds == pytest.approx(30.5, abs=0.2)
    assert len(bench.engine) == 0


def test_another_request_from_the_same_port_takes_the_place_of_the_first() -> None:
    bench = Bench()
    bench.send(Request("ipxe.efi"))
    assert bench.send(Request("sub/empty"), now=0.1) == [Data(1, b"")]
    assert bench.send(Ack(1), now=0.2) == []
    assert bench.kinds() == [STARTED, FAILED, STARTED, COMPLETED]


def test_the_same_request_again_gets_the_same_reply_and_no_second_transfer() -> None:
    bench = Bench()
    first = bench.send(Request("ipxe.efi"))
    assert bench.send(Request("ipxe.efi"), now=1.0) == first
    assert bench.kinds() == [STARTED]
    assert bench.send(Ack(1), now=1.1) != []


def answer_first(bench: Bench, client: tuple[str, int]) -> None:
    bench.send(Request("ipxe.efi"), client)
    assert bench.send(Ack(1), client) != []


def test_when_all_places_are_taken_by_live_transfers_the_client_hears_busy() -> None:
    bench = Bench(max_transfers=3)
    for i in range(3):
        answer_first(bench, (f"192.0.2.{i}", 1024))
    (reply,) = bench.send(Request("ipxe.efi"), ("192.0.2.9", 1024))
    assert reply == Error(0, "busy: too many transfers")
    assert len(bench.engine) == 3
    run_until(bench, 100.0)
    assert bench.still_serves(now=100.0)


def test_half_open_transfers_give_way_oldest_first() -> None:
    bench = Bench(max_transfers=3)
    answer_first(bench, ("192.0.2.1", 1024))
    for i in range(2, 20):
        assert len(bench.send(Request("ipxe.efi"), (f"192.0.2.{i}", 1024))) == 1
    gave_way = [event.client[0] for event in bench.events if event.kind is FAILED]
    assert gave_way == [f"192.0.2.{i}" for i in range(2, 18)]
    assert len(bench.engine) == 3
    assert bench.send(Ack(2), ("192.0.2.1", 1024)) != []


def test_ten_thousand_half_open_transfers_leave_room_for_a_node() -> None:
    bench = Bench()
    for i in range(10_000):
        bench.send(Request("ipxe.efi"), (f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", 1024))
    assert len(bench.engine) == 4096
    assert bench.still_serves(now=0.5)
    run_until(bench, 30.2)
    assert len(bench.engine) == 0
    assert bench.kinds().count(FAILED) == 10_000


def test_a_late_answer_still_completes_the_transfer() -> None:
    bench = Bench()
    asked = Request("ipxe.efi", options=(("windowsize", "65535"), ("blksize", "1468")))
    assert len(bench.send(asked, now=1.0)) == 1
    assert len(run_until(bench, 29.8)) == 2
    window = bench.send(Ack(0), now=29.9)
    assert [packet.block for packet in window if isinstance(packet, Data)] == list(range(1, 15))
    assert bench.send(Ack(14), now=30.5) == []
    assert bench.kinds() == [STARTED, COMPLETED]


def test_one_address_may_not_take_all_places() -> None:
    bench = Bench(max_transfers=8, max_per_address=2)
    answer_first(bench, ("192.0.2.1", 1))
    answer_first(bench, ("192.0.2.1", 2))
    (reply,) = bench.send(Request("ipxe.efi"), ("192.0.2.1", 3))
    assert reply == Error(0, "busy: too many transfers to this address")
    assert bench.still_serves()
    bench.send(Error(0, "gone"), ("192.0.2.1", 2))
    assert bench.fetch("ipxe.efi", ("192.0.2.1", 4)) == FILES["ipxe.efi"]


def test_of_one_address_too_what_never_answered_gives_way() -> None:
    """Or a forger could keep a node from its file, who asks for it in the node's name."""
    bench = Bench(max_per_address=2)
    answer_first(bench, ("192.0.2.1", 1))
    bench.send(Request("ipxe.efi"), ("192.0.2.2", 2))
    for port in range(2, 20):
        assert len(bench.send(Request("ipxe.efi"), ("192.0.2.1", port))) == 1
    gave_way = [event.client for event in bench.events if event.kind is FAILED]
    assert gave_way == [("192.0.2.1", port) for port in range(2, 19)]
    assert len(bench.engine) == 3


def test_stopping_tells_the_clients_that_answered() -> None:
    bench = Bench()
    answer_first(bench, ("192.0.2.1", 1))
    bench.send(Request("ipxe.efi"), ("192.0.2.2", 1))
    port = bench.engine.port(("192.0.2.1", 1))
    ((datagram, to, by),) = bench.engine.close(1.0)
    assert by == port > REQUESTS
    assert (parse(bytes(datagram)), to) == (Error(0, "the server is stopping"), ("192.0.2.1", 1))
    assert bench.kinds() == [STARTED, STARTED, FAILED, FAILED]
    assert len(bench.engine) == 0
