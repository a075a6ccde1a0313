"""The TFTP server without its socket: requests to transfers, within bounds.

It decides who is served, how many at once and how much may be sent to whom; what one transfer
sends is :mod:`bootserve.wire.tftp_transfer`'s. No I/O: a datagram and the time in, datagrams out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from bootserve.errors import BootserveError, NotFound, PacketError, Refused, Unavailable
from bootserve.servers.tftp_budget import ReplyBudget
from bootserve.servers.tftp_events import Client, TftpEvent, TftpEventKind
from bootserve.servers.tftp_layouts import Layouts
from bootserve.servers.tftp_waiting import Waiting
from bootserve.wire.tftp_blocks import Datagram
from bootserve.wire.tftp_options import Limits, negotiate
from bootserve.wire.tftp_packets import Error, ErrorCode, Request, ack_block, parse
from bootserve.wire.tftp_transfer import ReadTransfer, TransferState

__all__ = [
    "REQUESTS",
    "Lookup",
    "Outgoing",
    "TftpEngine",
    "find_file",
]

REQUESTS = 0
"""The port that requests come to, and that transfers may leave from to an address with credit. The
others are each one transfer's, and are numbered from 1 on."""

Outgoing: TypeAlias = tuple[Datagram, Client, int]
"""A datagram, where it goes, and the port that it leaves from. Several to one client that follow
each other are one window: all but the last are of one size."""

Lookup: TypeAlias = Callable[[str], bytes | None]
"""From a file's name to its content; None when :meth:`TftpEngine.resume` will be called once it is
known. Raises NotFound, or another BootserveError."""

_SWEEP = 0.1
"""Seconds between two looks at all deadlines, while there are transfers: one pass over some
thousand objects costs less than a timer that is moved at each ACK."""
_NOTHING: tuple[Outgoing, ...] = ()


@dataclass(slots=True)
class _Session:
    """A transfer, and what its events say."""

    request: Request
    transfer: ReadTransfer
    port: int
    started: float
    greeted: bool = False
    answered: bool = False
    resent: int = 0
    """Blocks sent again that were paid for."""

    @property
    def apart(self) -> bool:
        """Whether an answer proves anything: it came to a port that could not be known."""
        return self.port != REQUESTS


class TftpEngine:
    """Serves what ``lookup`` knows, read-only, to any number of clients.

    ``lookup`` should return the same object for the same content, or transfers do not share it.
    ``max_transfers`` bounds the transfers under way: when it is reached, the oldest that was never
    answered gives way, and when all were answered the request is refused as busy.
    ``max_per_address`` bounds those of one address. A transfer to an address without credit
    (:mod:`.tftp_budget`) has a port to itself: the caller opens it where a datagram is to leave by
    its number, must give what comes there from that client alone, and closes it when
    :meth:`ended` names it.
    """

    def __init__(
        self,
        *,
        lookup: Lookup,
        on_event: Callable[[TftpEvent], None],
        limits: Limits,
        max_transfers: int = 4096,
        max_per_address: int = 1024,
    ) -> None:
        self._lookup = lookup
        self._on_event = on_event
        self._limits = limits
        self._numbers = count(REQUESTS + 1)
        self._ended: list[int] = []
        self._max_transfers = max_transfers
        self._max_per_address = max_per_address
        self._sessions: dict[Client, _Session] = {}
        # In order of their requests: the first is the oldest.
        self._unanswered: dict[Client, None] = {}
        self._waiting = Waiting(max_transfers, max_per_address)
        self._per_address: Counter[str] = Counter()
        self._budget = ReplyBudget()
        self._layouts = Layouts()
        self._sweep_at = 0.0

    def __len__(self) -> int:
        """How many transfers are under way."""
        return len(self._sessions)

    def transfer(self, client: Client) -> ReadTransfer | None:
        """Return the transfer to ``client`` that is under way, if there is one."""
        session = self._sessions.get(client)
        return None if session is None else session.transfer

    def port(self, client: Client) -> int:
        """Return the port that the transfer to ``client`` leaves from, REQUESTS without one."""
        session = self._sessions.get(client)
        return REQUESTS if session is None else session.port

    def receive(self, data: bytes, client: Client, port: int, now: float) -> Sequence[Outgoing]:
        """Take a datagram that came to ``port`` and return those to send.

        Whatever the bytes are, nothing is raised.
        """
        block = ack_block(data)
        if block < 0:
            return self._receive_other(data, client, port, now)
        session = self._sessions.get(client)
        if session is None or session.port != port:
            return _NOTHING
        transfer = session.transfer
        replies = self._paid(client, session, transfer.acknowledge(block, now))
        if not session.answered and transfer.answered:
            replies.extend(self._first_answer(client, session, now))
        if transfer.finished:
            self._finish(client, session, now)
        return replies

    def ended(self) -> list[int]:
        """Return the ports of transfers that have ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def resume(self, filename: str, now: float) -> Sequence[Outgoing]:
        """Answer the requests that waited for ``filename``; the lookup knows it now.

        When there are more than may be under way, the first of them give way to the last, and are
        sent nothing: they ask again.
        """
        answers = [
            (self._receive_request(request, client, now), client in self._sessions, client)
            for request, client in self._waiting.take(filename, now)
        ]
        return [
            outgoing
            for replies, begun, client in answers
            if not begun or client in self._sessions
            for outgoing in replies
        ]

    def again(self, address: str) -> None:
        """Note that the machine at ``address`` starts anew, though it may never have answered."""
        self._budget.again(address)

    def timer(self) -> float | None:
        """Return when to call :meth:`handle_timer`, or None while nothing is under way."""
        return self._sweep_at if self._sessions else None

    def handle_timer(self, now: float) -> Sequence[Outgoing]:
        """Return the retransmissions that are due; transfers without hope are ended."""
        self._sweep_at = now + _SWEEP
        outgoing: list[Outgoing] = []
        due = [item for item in self._sessions.items() if item[1].transfer.deadline <= now]
        for client, session in due:
            replies = session.transfer.handle_timer(now)
            if session.transfer.finished:
                self._finish(client, session, now)
            elif session.answered:
                outgoing.extend(self._paid(client, session, replies))
            else:
                outgoing.extend(self._greet(client, session, replies, now))
        return outgoing

    def abort(self, client: Client, detail: str, now: float) -> None:
        """End the transfer to ``client``, if there is one: nothing can be sent there."""
        session = self._sessions.get(client)
        if session is not None:
            session.transfer.fail(detail)
            self._finish(client, session, now)

    def close(self, now: float) -> Sequence[Outgoing]:
        """End every transfer; the clients that answered are told."""
        outgoing: list[Outgoing] = []
        farewell = Error(ErrorCode.UNDEFINED, "the server is stopping").to_bytes()
        for client, session in list(self._sessions.items()):
            if session.answered:
                outgoing.append((farewell, client, session.port))
            self.abort(client, "the server is stopping", now)
        return outgoing

    def _receive_other(
        self, data: bytes, client: Client, port: int, now: float
    ) -> Sequence[Outgoing]:
        try:
            packet = parse(data)
        except PacketError as error:
            # Only what meant to be a request is answered; two servers that answered garbage with
            # ERROR could keep each other busy for ever.
            if port == REQUESTS and data[:2] in (b"\0\1", b"\0\2"):
                return self._refuse(client, "", error, now)
            return _NOTHING
        if isinstance(packet, Request):
            return self._receive_request(packet, client, now) if port == REQUESTS else _NOTHING
        session = self._sessions.get(client)
        if session is not None and session.port == port:
            session.transfer.receive(packet, now)
            if session.transfer.probed and session.apart:
                self._budget.answered(client[0], now)
            if session.transfer.finished:
                self._finish(client, session, now)
        return _NOTHING

    def _receive_request(self, request: Request, client: Client, now: float) -> Sequence[Outgoing]:
        session = self._sessions.get(client)
        if session is not None and session.request == request:
            return self._greet(client, session, session.transfer.request_again(now), now)
        self.abort(client, "the client sent another request from the same port", now)
        try:
            self._admit(request)
            content = self._find(request.filename)
            if content is None:
                self._waiting.add(request, client, now)  # a client that is dropped asks again
                return _NOTHING
            self._make_room(client, now)
        except BootserveError as error:
            return self._refuse(client, request.filename, error, now)
        return self._begin(request, content, client, now)

    def _begin(
        self, request: Request, content: bytes, client: Client, now: float
    ) -> Sequence[Outgoing]:
        terms = negotiate(request.options, len(content), self._limits)
        known = self._budget.lend(client[0], len(content), now)
        port = REQUESTS if known else next(self._numbers)
        session = _Session(request, ReadTransfer(content, terms, now), port, now)
        if not self._sessions:
            self._sweep_at = now + _SWEEP
        self._sessions[client] = session
        self._unanswered[client] = None
        self._per_address[client[0]] += 1
        self._report(TftpEventKind.STARTED, client, session, now)
        return self._greet(client, session, session.transfer.start(now), now)

    def _greet(
        self, client: Client, session: _Session, replies: Sequence[Datagram], now: float
    ) -> Sequence[Outgoing]:
        """Send a first reply when the address may still be sent one; :meth:`_first_answer` does it
        later otherwise."""
        size = sum(map(len, replies))
        free = session.answered and session.apart
        if not size or not (free or self._budget.spend(client[0], size, now)):
            return _NOTHING
        session.greeted = True
        return [(datagram, client, session.port) for datagram in replies]

    def _paid(
        self, client: Client, session: _Session, replies: Sequence[Datagram]
    ) -> list[Outgoing]:
        """Send what follows an answer; from the port that all know, as far as there is credit for
        what is sent again."""
        transfer = session.transfer
        if not session.apart and transfer.blocks_resent > session.resent:
            size = (transfer.blocks_resent - session.resent) * transfer.terms.blksize
            if not self._budget.pay(client[0], size):
                return []
            session.resent = transfer.blocks_resent
        return [(datagram, client, session.port) for datagram in replies]

    def _first_answer(self, client: Client, session: _Session, now: float) -> list[Outgoing]:
        """Note that the address answers; greet its other clients, who had to wait for that."""
        session.answered = True
        transfer = session.transfer
        # Not before: a forged request shall not cost the making of a whole file's packets.
        transfer.use(self._layouts.blocks(transfer.blocks.content, transfer.terms))
        self._unanswered.pop(client, None)
        if not session.apart or not self._budget.answered(client[0], now):
            return []
        outgoing: list[Outgoing] = []
        for other in [other for other in self._unanswered if other[0] == client[0]]:
            waiting = self._sessions[other]
            if not waiting.greeted:
                outgoing.extend(self._greet(other, waiting, waiting.transfer.start(now), now))
        return outgoing

    @staticmethod
    def _admit(request: Request) -> None:
        """Raise Refused for a request that no file could satisfy."""
        if request.write:
            raise Refused("this server is read-only")
        if request.mode != "octet":
            # tftp-hpa asks for netascii unless told otherwise. Every file here is binary: a
            # converted NBP is broken at any client that does not convert it back, so better a
            # sentence than a wrong byte.
            raise Refused("only mode octet (binary) is served")

    def _find(self, filename: str) -> bytes | None:
        """Return the content of ``filename``, or None when that takes a while."""
        if not filename.isascii() or not filename.isprintable():
            raise Refused("the file name is not printable ASCII")
        if ".." in filename.replace("\\", "/").split("/"):
            raise Refused("the file name leads out of the served files")
        return self._lookup(filename)

    def _make_room(self, client: Client, now: float) -> None:
        """Raise Unavailable when no further transfer may be begun for ``client``."""
        crowded = self._per_address[client[0]] >= self._max_per_address
        if not crowded and len(self._sessions) < self._max_transfers:
            return
        silent = (one for one in self._unanswered if not crowded or one[0] == client[0])
        oldest = next(silent, None)
        if oldest is None:
            raise Unavailable("busy: too many transfers" + " to this address" * crowded)
        self.abort(oldest, "never answered, and gave way to a newer request", now)

    def _refuse(
        self, client: Client, filename: str, error: BootserveError, now: float
    ) -> Sequence[Outgoing]:
        detail = f"{error} ({error.hint})" if error.hint else str(error)
        self._on_event(
            TftpEvent(TftpEventKind.REFUSED, client, _printable(filename), detail=detail)
        )
        refusal = Error(error.tftp_code, _printable(str(error))).to_bytes()
        if not self._budget.spend(client[0], len(refusal), now):
            return _NOTHING
        return ((refusal, client, REQUESTS),)

    def _finish(self, client: Client, session: _Session, now: float) -> None:
        del self._sessions[client]
        if session.apart:
            self._ended.append(session.port)
            transfer = session.transfer
            # The first answer was noted when it came.
            answers = -(-transfer.blocks_acknowledged // transfer.terms.windowsize)
            if answers > 1:
                self._budget.answered(client[0], now, answers - 1)
        elif not session.answered:
            self._budget.give_back(client[0], len(session.transfer.blocks.content))
        self._unanswered.pop(client, None)
        self._per_address[client[0]] -= 1
        if not self._per_address[client[0]]:
            del self._per_address[client[0]]
        self._report(_outcome(session), client, session, now)

    def _report(self, kind: TftpEventKind, client: Client, session: _Session, now: float) -> None:
        transfer = session.transfer
        self._on_event(
            TftpEvent(
                kind,
                client,
                _printable(session.request.filename),
                transfer.bytes_acknowledged,
                now - session.started,
                transfer.terms.blksize,
                transfer.terms.windowsize,
                transfer.retransmissions,
                transfer.detail,
            )
        )


def find_file(lookup: Callable[[str], bytes], filename: str) -> bytes:
    """Return the content that ``filename`` means; raises what ``lookup`` raises.

    Firmware that takes the server's root for a directory asks for /NAME or ./NAME.
    """
    names = dict.fromkeys((filename, filename.lstrip("/"), filename.removeprefix("./")))
    for name in filter(None, names):
        try:
            return lookup(name)
        except NotFound:
            continue
        except OSError as error:
            raise Unavailable("the file cannot be read now", hint=str(error)) from error
    raise NotFound("no such file")


def _outcome(session: _Session) -> TftpEventKind:
    transfer = session.transfer
    if transfer.state is TransferState.COMPLETED:
        return TftpEventKind.COMPLETED
    return TftpEventKind.PROBED if transfer.probed else TftpEventKind.FAILED


def _printable(text: str) -> str:
    """Return the first 128 characters of ``text``, escaped: harmless to a terminal or a log."""
    return text[:128].encode("unicode_escape").decode("ascii")
