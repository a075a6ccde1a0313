"""The quick way through the server's loop does what the engine does, and nothing else takes it."""

from __future__ import annotations

import os
import random
import resource
import socket
from collections.abc import Iterator

import pytest

from bootserve.servers.mmsg import SLOTS
from bootserve.servers.tftp_engine import TftpEngine
from bootserve.servers.tftp_events import TftpEvent, TftpEventKind
from bootserve.servers.tftp_loop import TftpLoop
from bootserve.wire.tftp_options import Limits
from bootserve.wire.tftp_packets import Ack, Data, Error, OptionAck, Options, Packet, Request, parse

CONTENT = random.Random(1).randbytes(100_000)
LARGE = random.Random(2).randbytes((8 << 20) + 1)


class Bench:
    """A loop on a loopback socket, its clock, and a client that may have fetched a file before."""

    def __init__(self, *, singly: bool, known: bool = True) -> None:
        self.now = 0.0
        self.events: list[TftpEvent] = []
        self.requests = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.requests.bind(("127.0.0.1", 0))
        self.at = self.requests.getsockname()
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.client.bind(("127.0.0.2", 0))
        self.served_from = self.at
        engine = TftpEngine(
            lookup={"nbp": CONTENT, "large": LARGE}.__getitem__,
            on_event=self.events.append,
            limits=Limits(),
        )
        self.engine = engine
        self.loop = TftpLoop(self.requests, engine, lambda: self.now, few=SLOTS if singly else 0)
        # One more, from the port that is used then, which learns how many come at a time.
        for _ in range(2 if known else 0):
            self.fetch_first()
        self.events.clear()

    def close(self) -> None:
        self.loop.close()
        for sock in (self.requests, self.client):
            sock.close()

    def received(self) -> list[Packet]:
        packets: list[Packet] = []
        while True:
            try:
                data, self.served_from = self.client.recvfrom(70_000)
            except BlockingIOError:
                return packets
            packets.append(parse(data))

    def put(self, *datagrams: bytes) -> None:
        """Send requests to the port for them, and others to where the last packet came from."""
        for datagram in datagrams:
            is_request = datagram[:2] == b"\0\1"
            self.client.sendto(datagram, self.at if is_request else self.served_from)

    def send(self, *datagrams: bytes) -> list[Packet]:
        """Send all, let the server have one turn, and return what it answers."""
        self.put(*datagrams)
        self.now += 0.001
        self.loop.turn()
        return self.received()

    def fetch_first(self) -> None:
        """Fetch a file in lock-step."""
        (data,) = self.send(Request("nbp").to_bytes())
        while isinstance(data, Data) and len(data.payload) == 512:
            (data,) = self.send(Ack(data.block).to_bytes())
        assert self.send(Ack(data.block if isinstance(data, Data) else 0).to_bytes()) == []

    def ask(self, name: str = "nbp", windowsize: int = 1) -> list[Packet]:
        options: Options = (("blksize", "1000"), ("windowsize", str(windowsize)))
        (granted,) = self.send(Request(name, "octet", options).to_bytes())
        assert granted == OptionAck(options)
        return self.send(Ack(0).to_bytes())


@pytest.fixture(params=["many at a time", "one at a time", "apart"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    how = request.param
    made = Bench(singly=how == "one at a time", known=how != "apart")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "content", "windowsize"),
    [("nbp", CONTENT, 1), ("nbp", CONTENT, 3), ("nbp", CONTENT, 64), ("large", LARGE, 64)],
)
def test_a_whole_file(bench: Bench, name: str, content: bytes, windowsize: int) -> None:
    """The large one is beyond what is laid out, and its packets are made one by one."""
    window, received, last = bench.ask(name, windowsize), bytearray(), 0
    while window:
        for data in window:
            assert isinstance(data, Data)
            last += 1
            assert data.block == last & 0xFFFF
            received += data.payload
        window = bench.send(Ack(last & 0xFFFF).to_bytes())
    assert received == content
    assert bench.events[-1].kind is TftpEventKind.COMPLETED
    assert len(bench.engine) == 0


def fetched(bench: Bench, name: str = "nbp", windowsize: int = 1) -> bytes:
    window, received, last = bench.ask(name, windowsize), bytearray(), 0
    while window:
        for data in window:
            assert isinstance(data, Data)
            received += data.payload
            last = data.block
        window = bench.send(Ack(last).to_bytes())
    return bytes(received)


@pytest.mark.parametrize("windowsize", [1, 2, 64])
def test_a_strangers_transfer_has_a_port_to_itself_which_is_given_back(windowsize: int) -> None:
    bench = Bench(singly=False, known=False)
    open_before = len(os.listdir("/proc/self/fd"))
    assert fetched(bench, windowsize=windowsize) == CONTENT
    assert bench.served_from != bench.at
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert fetched(bench) == CONTENT
    assert bench.served_from == bench.at
    bench.close()


def test_ports_that_nobody_answered_are_given_back() -> None:
    bench = Bench(singly=False, known=False)
    open_before = len(os.listdir("/proc/self/fd"))
    bench.send(Request("nbp").to_bytes())
    assert len(os.listdir("/proc/self/fd")) == open_before + 1
    for _ in range(320):
        bench.now += 0.1
        bench.loop.tick(bench.now)
    assert len(os.listdir("/proc/self/fd")) == open_before
    bench.close()


def test_nothing_comes_to_a_transfers_port_but_what_its_client_sends() -> None:
    bench = Bench(singly=False, known=False)
    assert len(bench.ask()) == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.2", 0))
        other.sendto(Error(0, "go away").to_bytes(), bench.served_from)
    assert len(bench.send(Ack(1).to_bytes())) == 1
    bench.close()


def test_a_last_acknowledgement_is_read_before_the_request_that_follows_it() -> None:
    """They come to two sockets, of which either may be read first."""
    bench = Bench(singly=False, known=False)
    bench.ask()
    last = len(CONTENT) // 1000 + 1
    for block in range(1, last):
        (data,) = bench.send(Ack(block).to_bytes())
    bench.put(Ack(last).to_bytes())
    bench.served_from = bench.at
    for _ in range(8):  # more than one turn takes, from a socket that is ready before the others
        bench.put(b"\0\4\0\1")
    (data,) = bench.send(Request("nbp").to_bytes()) + bench.send()
    assert isinstance(data, Data)
    assert [event.kind for event in bench.events] == [
        TftpEventKind.STARTED,
        TftpEventKind.COMPLETED,
        TftpEventKind.STARTED,
    ]
    bench.close()


def test_a_transfer_ends_when_the_clients_port_is_closed() -> None:
    bench = Bench(singly=False, known=False)
    bench.send(Request("nbp").to_bytes())
    bench.client.close()
    bench.now += 1.1
    bench.loop.turn()  # sends again
    bench.loop.turn()  # and is told by the client's machine
    assert bench.events[-1].detail == "the client's port is closed"
    assert len(bench.engine) == 0
    bench.loop.close()
    bench.requests.close()


def test_a_transfer_without_a_socket_ends() -> None:
    bench = Bench(singly=False, known=False)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
    try:
        assert bench.send(Request("nbp").to_bytes()) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert bench.events[-1].detail == "sending failed: Too many open files"
    assert len(bench.engine) == 0
    assert len(bench.send(Request("nbp").to_bytes())) == 1
    bench.close()


def test_two_acks_in_one_turn(bench: Bench) -> None:
    bench.ask(windowsize=4)
    packets = bench.send(Ack(4).to_bytes(), Ack(8).to_bytes()) + bench.send()
    assert [packet.block for packet in packets if isinstance(packet, Data)] == list(range(5, 13))


def test_an_ack_that_is_cut_short_is_not_completed_by_what_lay_there(bench: Bench) -> None:
    bench.ask()
    assert bench.send(Ack(2).to_bytes()) == []  # not sent yet, and now in the buffer
    bench.send(Ack(1).to_bytes())
    assert bench.send(Ack(1).to_bytes()) == []
    for cut in (b"\0\4", b"\0\4\0", b"", b"\0"):
        assert bench.send(cut) == []
    (data,) = bench.send(Ack(2).to_bytes())
    assert isinstance(data, Data)
    assert data.block == 3


def test_an_ack_with_bytes_behind_it_is_an_ack(bench: Bench) -> None:
    bench.ask()
    (data,) = bench.send(Ack(1).to_bytes() + b"padding")
    assert isinstance(data, Data)
    assert data.block == 2


def test_an_error_ends_the_transfer_for_the_quick_way_too(bench: Bench) -> None:
    bench.ask()
    assert bench.send(Error(0, "enough").to_bytes(), Ack(1).to_bytes()) + bench.send() == []
    assert bench.events[-1].kind is TftpEventKind.FAILED
    assert len(bench.engine) == 0


def test_a_lost_window_is_sent_again_and_the_transfer_goes_on(bench: Bench) -> None:
    bench.ask(windowsize=4)
    bench.send(Ack(4).to_bytes())
    bench.now += 2.0
    bench.loop.tick(bench.now)
    again = [packet.block for packet in bench.received() if isinstance(packet, Data)]
    assert again == [5, 6, 7, 8]
    assert len(bench.send(Ack(8).to_bytes())) == 4


def test_a_transfer_that_timed_out_is_forgotten(bench: Bench) -> None:
    bench.ask()
    for _ in range(400):
        bench.now += 0.1
        bench.loop.tick(bench.now)
    bench.received()
    assert bench.events[-1].detail == "the client fell silent"
    assert bench.send(Ack(1).to_bytes()) == []
    assert len(bench.ask()) == 1


def test_closing_tells_the_client(bench: Bench) -> None:
    bench.ask()
    bench.loop.close()
    assert bench.received() == [Error(0, "the server is stopping")]


def test_nobody_answers_or_ends_a_transfer_at_another_port(bench: Bench) -> None:
    asked = Request("nbp", options=(("blksize", "1000"),)).to_bytes()
    assert len(bench.send(asked)) == 1
    right = bench.served_from
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((bench.at[0], 0))
        for at in {other.getsockname(), bench.at} - {right}:
            bench.served_from = at
            assert bench.send(Ack(0).to_bytes(), Error(0, "go away").to_bytes()) == []
    bench.served_from = right
    (data,) = bench.send(Ack(0).to_bytes())
    assert isinstance(data, Data)
    assert data.block == 1
