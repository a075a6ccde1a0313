"""Transfers joined in memory with a client, over a link that loses, doubles and reorders."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserve.wire.tftp_blocks import Datagram
from bootserve.wire.tftp_options import Limits, negotiate
from bootserve.wire.tftp_packets import Ack, Data, OptionAck, Options, Request, parse
from bootserve.wire.tftp_transfer import ReadTransfer


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@dataclass
class Receiver:
    """A client after RFC 1350, 2347 and 7440 that asks again after a second, thirty times."""

    options: Options
    blksize: int = 512
    windowsize: int = 1
    received: bytearray = field(default_factory=bytearray)
    last: int = 0
    unacknowledged: int = 0
    complained: bool = False
    complete: bool = False
    saying: bytes = b""

    def start(self) -> bytes:
        self.saying = Request("f", "octet", self.options).to_bytes()
        return self.saying

    def receive(self, datagram: bytes) -> list[bytes]:
        packet = parse(datagram)
        if isinstance(packet, OptionAck) and not self.last:
            granted = dict(packet.options)
            self.blksize = int(granted.get("blksize", 512))
            self.windowsize = int(granted.get("windowsize", 1))
            return self._ack()
        if not isinstance(packet, Data):
            return []
        if packet.block != (self.last + 1) % 0x10000:
            return self._out_of_order()
        self.received += packet.payload
        self.last += 1
        self.unacknowledged += 1
        self.complained = False
        self.complete = len(packet.payload) < self.blksize
        return self._ack() if self.complete or self.unacknowledged == self.windowsize else []

    def _out_of_order(self) -> list[bytes]:
        """RFC 7440 section 4: say once which block was the last in order."""
        if self.complained:
            return []
        self.complained = True
        return self._ack()

    def _ack(self) -> list[bytes]:
        self.unacknowledged = 0
        self.saying = Ack(self.last % 0x10000).to_bytes()
        return [self.saying]


@dataclass
class BadLink:
    """Joins a receiver and the transfers of its requests; loses, doubles and delays by a seed."""

    seed: int
    loss: float = 0.0
    duplication: float = 0.0
    jitter: float = 0.0
    late: float = 1.0
    breaks_at: float = math.inf
    data_sent: int = 0
    transfer: ReadTransfer | None = None

    def run(self, content: bytes, options: Options) -> Receiver:
        self.random = random.Random(self.seed)
        self.queue: list[tuple[float, int, bool, bytes]] = []
        self.order = itertools.count()
        self.content = content
        receiver = Receiver(options)
        self._send(0.0, True, [receiver.start()])
        now = asked = 0.0
        while now < 3600.0:
            wake = [self.queue[0][0]] if self.queue else []
            if not receiver.complete:
                wake.append(asked + 1.0)
            if self.transfer is not None and not self.transfer.finished:
                wake.append(self.transfer.deadline)
            if not wake:
                break
            now = max(now, min(wake))
            while self.queue and self.queue[0][0] <= now:
                _, _, to_server, datagram = heapq.heappop(self.queue)
                if to_server:
                    self._send(now, False, self._serve(datagram, now))
                else:
                    asked = now
                    self._send(now, True, receiver.receive(datagram))
            if not receiver.complete and asked + 1.0 <= now:
                asked = now
                self._send(now, True, [receiver.saying])
            if self.transfer is not None:
                self._send(now, False, self.transfer.handle_timer(now))
        return receiver

    def _serve(self, datagram: bytes, now: float) -> Sequence[Datagram]:
        packet = parse(datagram)
        if not isinstance(packet, Request):
            return self.transfer.receive(packet, now) if self.transfer is not None else ()
        if self.transfer is not None and not self.transfer.finished:
            return self.transfer.request_again(now)
        terms = negotiate(packet.options, len(self.content), Limits())
        self.transfer = ReadTransfer(self.content, terms, now)
        return self.transfer.start(now)

    def _send(self, now: float, to_server: bool, datagrams: Sequence[Datagram]) -> None:
        for datagram in map(bytes, datagrams):
            self.data_sent += datagram[1] == 3
            copies = 1 + (self.random.random() < self.duplication)
            for _ in range(copies):
                if self.random.random() >= self.loss and now < self.breaks_at:
                    delay = 0.0005
                    if self.random.random() < self.late:
                        delay += self.random.random() * self.jitter
                    entry = (now + delay, next(self.order), to_server, datagram)
                    heapq.heappush(self.queue, entry)


def asked_options(blksize: int, windowsize: int) -> Options:
    wanted = {"blksize": blksize, "windowsize": windowsize}
    defaults = {"blksize": 512, "windowsize": 1}
    return tuple((n, str(v)) for n, v in wanted.items() if v != defaults[n])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 3000),
    st.sampled_from([8, 16, 100, 512]),
    st.sampled_from([1, 2, 4, 16, 64]),
    st.integers(0, 1 << 32),
    st.sampled_from([0.0, 0.01, 0.05, 0.2]),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([0.0, 0.002, 0.05]),
)
def test_under_loss_duplication_and_reordering_the_file_arrives(
    size: int,
    blksize: int,
    windowsize: int,
    seed: int,
    loss: float,
    duplication: float,
    jitter: float,
) -> None:
    link = BadLink(seed, loss, duplication, jitter)
    content = content_of(size)
    receiver = link.run(content, asked_options(blksize, windowsize))
    assert receiver.complete
    assert bytes(receiver.received) == content
    assert link.transfer is not None
    # A client that has everything does not come back when its last ACK was lost.
    assert link.transfer.finished
    assert link.transfer.detail in ("", "the last block was never acknowledged", *_LATE_COPIES)


_LATE_COPIES = ("the client never answered",)
"""A copy of the request that comes after the end starts a transfer that nobody answers."""


@pytest.mark.parametrize("windowsize", [1, 4, 16])
def test_on_a_good_link_each_block_is_sent_once(windowsize: int) -> None:
    link = BadLink(seed=1)
    link.run(content_of(8 * 999), asked_options(8, windowsize))
    assert link.data_sent == 1000


@pytest.mark.parametrize("windowsize", [1, 4, 16])
def test_rfc1123_every_packet_doubled_does_not_double_the_blocks(windowsize: int) -> None:
    link = BadLink(seed=1, duplication=1.0)
    receiver = link.run(content_of(8 * 999), asked_options(8, windowsize))
    assert receiver.complete
    # The receiver takes every second copy for a sign of loss, as EDK2 does: of each round trip,
    # one such complaint is heeded.
    assert link.data_sent <= 1000 * (1 if windowsize == 1 else 2.2)


NBP = content_of(1_000_000)


@pytest.mark.parametrize(("windowsize", "most"), [(1, 1.6), (4, 3.0), (16, 8.0)])
@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
def test_an_nbp_arrives_over_a_link_that_loses_doubles_and_reorders(
    loss: float, windowsize: int, most: float
) -> None:
    """Each tenth packet comes twice, and each tenth some milliseconds late."""
    for seed in range(3):
        link = BadLink(seed, loss, duplication=0.1, jitter=0.005, late=0.1)
        receiver = link.run(NBP, asked_options(1428, windowsize))
        assert bytes(receiver.received) == NBP
        assert link.transfer is not None
        assert link.transfer.finished
        assert link.transfer.detail in ("", "the last block was never acknowledged", *_LATE_COPIES)
        assert link.data_sent < most * 701


@pytest.mark.parametrize("windowsize", [1, 4, 16])
def test_a_link_that_breaks_ends_the_transfer_with_a_clear_error(windowsize: int) -> None:
    link = BadLink(seed=1, breaks_at=0.02)
    receiver = link.run(NBP, asked_options(1428, windowsize))
    assert not receiver.complete
    assert link.transfer is not None
    assert link.transfer.finished
    assert link.transfer.detail == "the client fell silent"
