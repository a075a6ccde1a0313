"""The quick way through the server's loop does what the engine does, and nothing else takes it."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

from bootserve.servers.mmsg import SLOTS
from bootserve.servers.tftp_budget import PROOFS
from bootserve.servers.tftp_engine import TftpEngine
from bootserve.servers.tftp_events import TftpEvent, TftpEventKind
from bootserve.servers.tftp_loop import TftpLoop
from bootserve.wire.tftp_options import Limits
from bootserve.wire.tftp_packets import Ack, Data, Error, OptionAck, Options, Packet, Request, parse
from tests.support.tftp import by_turns

CONTENT = random.Random(1).randbytes(100_000)
LARGE = random.Random(2).randbytes((8 << 20) + 1)


class Bench:
    """A loop on loopback sockets, its clock, and a client that fetched ``proofs`` files before."""

    def __init__(self, *, singly: bool, proofs: int = PROOFS) -> None:
        self.now = 0.0
        self.events: list[TftpEvent] = []
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
        for sock in self.sockets:
            sock.bind(("127.0.0.1", 0))
        self.at = [sock.getsockname() for sock in self.sockets]
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.client.bind(("127.0.0.2", 0))
        self.served_from = self.at[0]
        engine = TftpEngine(
            lookup={"nbp": CONTENT, "large": LARGE}.__getitem__,
            on_event=self.events.append,
            limits=Limits(),
            ports=3,
            draw=by_turns(),
        )
        self.engine = engine
        self.loop = TftpLoop(self.sockets, engine, lambda: self.now, few=SLOTS if singly else 0)
        # One more, from the port that is used then, which learns how many come at a time.
        for _ in range(proofs + 1 if proofs else 0):
            self.fetch_first()
        self.events.clear()

    def close(self) -> None:
        self.loop.close()
        for sock in (*self.sockets, self.client):
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
            self.client.sendto(datagram, self.at[0] if is_request else self.served_from)

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


@pytest.fixture(params=["many at a time", "one at a time"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(singly=request.param == "one at a time")
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


@pytest.mark.parametrize("few", [False, True])
def test_a_stranger_is_served_from_a_port_that_is_drawn(few: bool) -> None:
    bench = Bench(singly=few, proofs=0)
    served_from = []
    for _ in range(PROOFS + 1):
        window, received, last = bench.ask("nbp", 1 if few else 2), bytearray(), 0
        while window:
            for data in window:
                assert isinstance(data, Data)
                received += data.payload
                last = data.block
            window = bench.send(Ack(last).to_bytes())
        assert received == CONTENT
        served_from.append(bench.served_from)
    bench.close()
    assert served_from == [bench.at[1], bench.at[2], bench.at[0]]


def test_two_acks_in_one_turn(bench: Bench) -> None:
    bench.ask(windowsize=4)
    packets = bench.send(Ack(4).to_bytes(), Ack(8).to_bytes()) + bench.send()
    assert [packet.block for packet in packets if isinstance(packet, Data)] == list(range(5, 13))


def test_an_ack_that_is_cut_short_is_not_completed_by_what_lay_there(bench: Bench) -> None:
    bench.ask()
    assert bench.send(Ack(2).to_bytes()) == []  # not sent yet, and now in the buffer
    bench.send(Ack(1).to_bytes())
    assert bench.send(Ack(1).to_bytes()) == []
    bench.put(Ack(2).to_bytes())
    bench.sockets[bench.at.index(bench.served_from)].recv(4)
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


def test_a_first_answer_to_another_port_ends_the_transfer(bench: Bench) -> None:
    asked = Request("nbp", options=(("blksize", "1000"),)).to_bytes()
    assert len(bench.send(asked)) == 1
    right = bench.served_from
    bench.served_from = next(at for at in bench.at if at != right)
    assert bench.send(Ack(0).to_bytes()) == []
    bench.served_from = right
    assert bench.send(Ack(0).to_bytes()) == []
    assert bench.events[-1].kind is TftpEventKind.FAILED
    assert bench.events[-1].detail == "the first answer came to another port: forged?"
    assert bench.send(asked) == []


def test_nobody_ends_a_transfer_by_a_later_answer_to_another_port(bench: Bench) -> None:
    assert len(bench.ask()) == 1
    right = bench.served_from
    for at in bench.at:
        if at != right:
            bench.served_from = at
            assert bench.send(Ack(1).to_bytes(), Error(0, "go away").to_bytes()) == []
    bench.served_from = right
    (data,) = bench.send(Ack(1).to_bytes())
    assert isinstance(data, Data)
    assert data.block == 2
