"""One TFTP read transfer, the sending side, without I/O: acknowledgements in, datagrams out.

RFC 1350 (lock-step), 1123 section 4.2.3.1 (no Sorcerer's Apprentice), 2347 (OACK) and 7440
(windows). Time is a parameter, in seconds of any monotonic clock. The states::

    GREETING ──ACK of the first reply──▶ SENDING ──ACK of the last block──▶ COMPLETED
        │                                   │
        └───────────ERROR, or no answer─────┴──▶ FAILED

Blocks are counted from 1 without wrapping; the 16 bits on the wire are mapped onto the window,
which is far smaller than 65,536, so files of any length are served (the number after 65,535 is 0,
as EDK2, iPXE, curl and tftp-hpa count).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from bootserve.wire.tftp_blocks import NO_WINDOW, Blocks, Datagram, Window
from bootserve.wire.tftp_options import Terms
from bootserve.wire.tftp_packets import Ack, Error, OptionAck, Packet

__all__ = ["ReadTransfer", "TransferState"]

_NOTHING: tuple[Datagram, ...] = ()

_UNANSWERED_RETRANSMISSIONS = 2
"""How often the first reply is sent again before the client answered: TFTP must not amplify."""
_FIRST_INTERVAL = 1.0
_LEAST_INTERVAL = 0.2
"""As Linux' TCP has it: on a lossy link the rest of a second for each lost block makes minutes."""
_LEAST_RTT = _LEAST_INTERVAL / 4
"""A shorter round trip as the slowest one makes no difference."""
_GREATEST_INTERVAL = 8.0
_GREATEST_BLOCK_INTERVAL = 2.0
"""The same in lock-step, where each is one datagram, and the client's own repeated ACK must not
bring the block (RFC 1123 section 4.2.3.1): so many are lost in a row that it takes many."""
_PATIENCE = 30.0
"""Seconds without progress after which a transfer is given up."""
_COPY = 0.1
"""Seconds behind a request within which the same one is the network's copy, and no client's."""
_RESET = 1.0
"""Seconds of silence that a node which was reset, and asks again, has at least behind it."""


class TransferState(Enum):
    """Where a transfer stands."""

    GREETING = auto()
    SENDING = auto()
    COMPLETED = auto()
    FAILED = auto()


class ReadTransfer:
    """Sends ``content`` in blocks to one client, on ``terms``.

    Every method that takes ``now`` returns the datagrams to send, in order. ``deadline`` is when
    :meth:`handle_timer` wants to be called, or earlier. ``finished`` is whether there is nothing
    more to send or to wait for. ``answered`` is whether the client acknowledged anything yet.
    ``detail`` says why the transfer failed, and ``probed`` that it failed as a size probe does:
    EDK2 asks for tsize, reads the OACK and ends the transfer with an ERROR. ``blocks_acknowledged``
    and ``blocks_resent`` count blocks, the latter each time that one is sent again.

    ``window`` is the quick way through: what was sent, when nothing of it was lost and all that
    follows is ready (:meth:`use`). A server that gets the ACK which it awaits may call
    :meth:`next_window` in place of :meth:`acknowledge`.
    """

    __slots__ = (
        "_acked",
        "_base_interval",
        "_count",
        "_interval",
        "_oack",
        "_progress_at",
        "_resent",
        "_rolled_back",
        "_rtt_greatest",
        "_rtt_least",
        "_sent",
        "_sent_at",
        "_windowsize",
        "answered",
        "blocks",
        "blocks_resent",
        "deadline",
        "detail",
        "finished",
        "probed",
        "retransmissions",
        "state",
        "terms",
        "window",
    )

    def __init__(self, content: bytes, terms: Terms, now: float) -> None:
        self.terms = terms
        self.state = TransferState.GREETING
        self.detail = ""
        self.answered = False
        self.probed = False
        self.retransmissions = 0
        self.blocks_resent = 0
        self.finished = False
        self.window = NO_WINDOW
        self.blocks = Blocks(content, terms.blksize)
        self._oack = OptionAck(terms.granted).to_bytes() if terms.granted else b""
        self._count = self.blocks.count
        self._windowsize = terms.windowsize
        self._acked = 0
        self._sent = 0
        self._rolled_back = False
        self._resent = False
        self._rtt_least = self._rtt_greatest = 0.0
        self._sent_at = now
        self._base_interval = self._interval = self._choose_interval()
        self._progress_at = now
        self.deadline = now + self._interval

    @property
    def bytes_acknowledged(self) -> int:
        """How many bytes of the file the client has acknowledged."""
        return min(self.blocks_acknowledged * self.terms.blksize, len(self.blocks.content))

    @property
    def blocks_acknowledged(self) -> int:
        """How many blocks of the file the client has acknowledged."""
        self._catch_up()
        return self._acked

    def start(self, now: float) -> Sequence[Datagram]:
        """Return the first reply: the OACK, or DATA 1 when no option was granted."""
        self._sent_at = now
        if self._oack:
            return (self._oack,)
        self._sent = 1
        return self.blocks.packets(1, 1)

    def receive(self, packet: Packet, now: float) -> Sequence[Datagram]:
        """Take a packet from the client. What is neither ACK nor ERROR is ignored."""
        if isinstance(packet, Ack):
            return self.acknowledge(packet.block, now)
        if isinstance(packet, Error) and not self.finished:
            self.probed = self.state is TransferState.GREETING and "tsize" in dict(
                self.terms.granted
            )
            said = packet.message or "no message"
            self.fail(f"the client ended it: error {packet.code}, {said[:100]}")
        return _NOTHING

    def use(self, blocks: Blocks) -> None:
        """Send ``blocks``, of the same content, block size and window size, from now on."""
        self.blocks = blocks
        self._enter_quick_way()

    def acknowledge(self, block: int, now: float) -> Sequence[Datagram]:
        """Take an ACK of ``block`` (modulo 65,536)."""
        self._catch_up()
        if self.state is not TransferState.SENDING:
            return self._first_answer(block, now)
        ahead = (block - self._acked) & 0xFFFF
        if ahead > self._sent - self._acked:
            return _NOTHING
        if not ahead:
            return self._duplicate(now)
        return self._advance(ahead, now)

    def next_window(self, now: float) -> Window:
        """Take the ACK that is awaited, and return what to send.

        It does what :meth:`acknowledge` does with that ACK, and leaves the packets to the caller.
        """
        elapsed = now - self._sent_at
        if not self._rtt_least <= elapsed <= self._rtt_greatest:
            self._measure(elapsed)
        self._sent_at = now
        self.window = window = self.window.next
        return window

    def request_again(self, now: float) -> Sequence[Datagram]:
        """Take the same request once more, from the same address and port.

        Before the first answer the client has missed the reply: it is sent again, unless the first
        was sent just now. Then this is a copy from the network, and atftp gives up when it sees two
        OACKs. Later, the
        request is a late duplicate from the network when the transfer is in full swing, and is
        ignored; after a silence it is a node that was reset and uses the same port again, as some
        ROMs do: the transfer starts over.
        """
        self._catch_up()
        if self.state is TransferState.SENDING:
            if now - self._progress_at < _RESET:
                return _NOTHING
            self._start_over(now)
        elif self._sent_at <= now < self._sent_at + _COPY:
            return _NOTHING
        return _NOTHING if self.finished else self.start(now)

    def handle_timer(self, now: float) -> Sequence[Datagram]:
        """Send again what is not acknowledged, or give up; nothing before ``deadline``."""
        self._catch_up()
        if self.finished or now < self.deadline or self._is_hopeless(now):
            return _NOTHING
        self.window = NO_WINDOW
        self.retransmissions += 1
        self._resent = True
        greeting = self.state is TransferState.GREETING
        lock_step = self.terms.windowsize == 1 and not greeting
        greatest = _GREATEST_BLOCK_INTERVAL if lock_step else _GREATEST_INTERVAL
        self._interval = min(self._interval * 2, greatest)
        self.deadline = min(now + self._interval, self._progress_at + _PATIENCE)
        if not greeting:
            return self._send_window(now)
        if self.retransmissions == _UNANSWERED_RETRANSMISSIONS:
            # curl repeats an ACK that was lost every 6 s, and never asks again.
            self.deadline = self._progress_at + _PATIENCE
        return self.start(now)

    def fail(self, detail: str) -> None:
        """End the transfer without completing it."""
        self._catch_up()
        self.window = NO_WINDOW
        self.state = TransferState.FAILED
        self.finished = True
        self.detail = detail

    def _enter_quick_way(self) -> None:
        if self.state is TransferState.SENDING and not self._resent:
            window = self.blocks.window(self._acked)
            if window.last == self._sent:
                self.window = window

    def _catch_up(self) -> None:
        """Note what was acknowledged and sent on the quick way."""
        window = self.window
        if window is not NO_WINDOW:
            self._acked, self._sent = window.first - 1, window.last
            self._interval = self._base_interval
            self._progress_at = self._sent_at
            self.deadline = self._sent_at + self._interval

    def _is_hopeless(self, now: float) -> bool:
        """Fail the transfer, and say so, when another retransmission is not worth it."""
        if self.state is TransferState.GREETING:
            if self.retransmissions >= _UNANSWERED_RETRANSMISSIONS:
                self.fail("the client never answered")
        elif now >= self._progress_at + _PATIENCE:
            last = self._sent == self.blocks.count
            self.fail("the last block was never acknowledged" if last else "the client fell silent")
        return self.finished

    def _first_answer(self, block: int, now: float) -> Sequence[Datagram]:
        expected = 0 if self._oack else 1
        if self.finished or block != expected:
            return _NOTHING
        self.answered = True
        self.state = TransferState.SENDING
        return self._advance(expected, now)

    def _start_over(self, now: float) -> None:
        self.state = TransferState.GREETING
        self.window = NO_WINDOW
        self.blocks_resent += self._sent
        self._acked = self._sent = self.retransmissions = 0
        self._interval = self._base_interval
        self._progress_at = now
        self.deadline = now + self._interval

    def _advance(self, ahead: int, now: float) -> Sequence[Datagram]:
        """Go on behind ``ahead`` more blocks.

        An ACK inside the window says that the block after it is lost, and the window starts again
        there (RFC 7440 section 4). But when that block was sent less than a round trip ago, the
        ACK is about an earlier copy: then only the window's end moves on. Clients such as EDK2
        take each late copy of a block for a loss, and would have every window sent many times.
        """
        elapsed = now - self._sent_at
        self.window = NO_WINDOW
        self._acked = acked = self._acked + ahead
        whole = acked == self._sent
        if whole and not self._resent and not self._rtt_least <= elapsed <= self._rtt_greatest:
            self._measure(elapsed)
        if acked == self.blocks.count:
            self.state = TransferState.COMPLETED
            self.finished = True
            return _NOTHING
        self._interval = self._base_interval
        self.deadline = now + self._interval
        self._progress_at = now
        if not whole and elapsed < self._rtt_least:
            return self._slide()
        self._rolled_back = False
        self._resent = not whole
        self.retransmissions += not whole
        datagrams = self._send_window(now)
        self._enter_quick_way()
        return datagrams

    def _duplicate(self, now: float) -> Sequence[Datagram]:
        """An ACK of the block before the window, once more.

        In lock-step it is never answered with DATA (RFC 1123 section 4.2.3.1). With a window it
        also is how a client says that the window's first block is lost (RFC 7440 section 4). A
        genuine one cannot come sooner after the window than a round trip, and one is enough: a
        copy from the network that was answered would double every window to the end of the file.
        """
        elapsed = now - self._sent_at
        early = elapsed <= 0 or elapsed < self._rtt_least
        if self.terms.windowsize == 1 or self._rolled_back or early:
            return _NOTHING
        self.window = NO_WINDOW
        self._rolled_back = True
        self._resent = True
        self.retransmissions += 1
        return self._send_window(now)

    def _send_window(self, now: float) -> Sequence[Datagram]:
        """Send the whole window, from the first block that is not acknowledged."""
        self.blocks_resent += self._sent - self._acked
        self._sent = self._acked
        self._sent_at = now
        return self._slide()

    def _slide(self) -> Sequence[Datagram]:
        """Send the blocks of the window that have not been sent."""
        first = self._sent + 1
        self._sent = min(self._acked + self._windowsize, self._count)
        return self.blocks.packets(first, self._sent)

    def _measure(self, elapsed: float) -> None:
        """Take a round trip that is shorter or longer than all before it.

        In lock-step only a long one matters.
        """
        if self._windowsize > 1:
            self._rtt_least = min(self._rtt_least or elapsed, elapsed)
        self._rtt_greatest = max(self._rtt_greatest, elapsed, _LEAST_RTT)
        self._base_interval = self._choose_interval()

    def _choose_interval(self) -> float:
        """Return the seconds to the first retransmission.

        Four times the slowest round trip seen, within bounds.
        """
        if not self._rtt_greatest:
            return _FIRST_INTERVAL
        return min(_FIRST_INTERVAL, max(_LEAST_INTERVAL, 4 * self._rtt_greatest))
