"""Stands before aiohttp and answers plain script requests and heartbeats itself; aiohttp the rest.

In a boot storm scripts are asked for more often than anything else, nearly always in the same few
bytes. A request that is byte for byte of that kind is answered here, with the very bytes that
aiohttp would send, at a fifth of the cost. The first other thing that comes on a connection hands
the connection over, with what was read, and it stays with aiohttp.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from typing import cast

from aiohttp.http import SERVER_SOFTWARE

from bootserve.servers.boot.accepting import Acceptor
from bootserve.servers.boot.scripts import ScriptDesk

__all__ = ["IDLE_SECONDS", "Listener", "Unasked", "plain_headers"]

IDLE_SECONDS = 75.0
"""A connection on which nothing was asked for so long is closed."""

HEADER_SECONDS = 20.0
"""A connection whose first request is not there so long after its first byte is closed."""
MAX_CONNECTIONS = 8192
"""Connections at once; a rack's nodes need one or two each."""

# "GET /boot/52-54-00-12-34-56.ipxe HTTP/1.1", as this server's own URLs are asked for, or with
# colons, as iPXE writes ${net0/mac}
_PATH = slice(0, 10)
_MAC = slice(10, 27)
_VERSION = slice(27, 41)
_HEADERS = slice(41, None)
_MAX_BYTES = 2048

_HEARTBEAT = b"POST /heart"

_HEADER = re.compile(rb"([A-Za-z-]+): ([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)")
_HOST = re.compile(rb"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_HARMLESS = frozenset({b"host", b"user-agent", b"accept", b"accept-encoding", b"accept-language"})

_HEAD = (
    b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nDate: %b\r\nServer: %b\r\n\r\n%b"
)
_SERVER = SERVER_SOFTWARE.encode()


@lru_cache(maxsize=256)
def plain_headers(block: bytes) -> bool:
    """Return whether ``block`` is a request's whole header, and says nothing to act upon.

    It is ``\\r\\n``, the lines, and an empty line, with one Host and no field twice.
    """
    if block[:2] != b"\r\n" or block[-4:] != b"\r\n\r\n":
        return False
    seen: dict[bytes, bytes] = {}
    for line in block[2:-4].split(b"\r\n"):
        match = _HEADER.fullmatch(line)
        if match is None or match[1].lower() in seen:
            return False
        seen[match[1].lower()] = match[2]
    kept = seen.pop(b"connection", b"keep-alive").lower() == b"keep-alive"
    host = _HOST.fullmatch(seen.get(b"host", b""))
    return kept and host is not None and seen.keys() <= _HARMLESS


class Unasked:
    """Connections that were handed over and have not asked for anything yet.

    aiohttp waits for ever for the end of a first request's header; this gives such a client
    ``seconds``.
    """

    def __init__(self, seconds: float = HEADER_SECONDS) -> None:
        self._seconds = seconds
        self._timers: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._timers)

    def add(self, transport: asyncio.Transport) -> None:
        """Give ``transport`` its time."""
        loop = asyncio.get_running_loop()
        self._timers[transport] = loop.call_later(self._seconds, self._end, transport)

    def asked(self, transport: asyncio.BaseTransport | None) -> None:
        """A request came on ``transport``, to the end of its header."""
        timer = self._timers.pop(transport, None) if transport is not None else None
        if timer is not None:
            timer.cancel()

    def _end(self, transport: asyncio.Transport) -> None:
        self._timers.pop(transport, None)
        transport.abort()


class Listener:
    """The boot plane's TCP listener.

    ``handler`` makes an aiohttp connection handler, as ``web.AppRunner.server`` does, and ``busy``
    says how many connections aiohttp has. ``unasked`` watches those that are handed over, and is
    told of each request by the application. When there are ``max_connections``, the address that
    has most of the idle ones loses the longest idle for a new one: one address cannot take them
    all, and a rack behind one router is not refused. When none is idle, the new one is closed.
    ``heartbeat`` returns the answer to a plain heartbeat, None for what aiohttp is to have.
    ``full`` is told when the system has no room for another connection.
    """

    def __init__(
        self,
        desk: ScriptDesk,
        handler: Callable[[], asyncio.Protocol],
        *,
        unasked: Unasked | None = None,
        busy: Callable[[], int] = lambda: 0,
        heartbeat: Callable[[bytes], str | None] = lambda _request: None,
        full: Callable[[OSError], None] = lambda _error: None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.desk = desk
        self.handler = handler
        self.unasked = unasked
        self.heartbeat = heartbeat
        self._full = full
        self.connections: set[_Front] = set()
        self._idle: dict[str, dict[_Front, None]] = {}
        self._busy = busy
        self._max = max_connections
        self._acceptor: Acceptor | None = None
        self._date = b""
        self._second = 0

    def start(self, sock: socket.socket) -> None:
        """Accept connections on ``sock``, which listens already."""
        loop = asyncio.get_running_loop()
        self._acceptor = Acceptor(
            sock, self._at_once, lambda first: _Front(self, loop, first), self._full
        )

    async def stop(self) -> None:
        """Accept no more, and close the connections that aiohttp does not have."""
        if self._acceptor is not None:
            self._acceptor.close()
        for front in [*self.connections]:
            front.close()

    def _at_once(self, first: bytes) -> bytes | None:
        """Return the answer to a connection's first bytes if they are a plain heartbeat."""
        if first[: len(_HEARTBEAT)] != _HEARTBEAT:
            return None
        text = self.heartbeat(first)
        return None if text is None else self.answer(text)

    def came(self, front: _Front) -> bool:
        """Take a new connection, in another's place if need be; return whether there is room."""
        if len(self.connections) + self._busy() >= self._max:
            greediest = max(self._idle.values(), key=len, default={})
            if (oldest := next(iter(greediest), None)) is None:
                return False
            oldest.abort()
        self.connections.add(front)
        self._idle.setdefault(front.address, {})[front] = None
        return True

    def heard(self, front: _Front) -> None:
        """Note that ``front`` is the last of its address to be idle."""
        fronts = self._idle[front.address]
        del fronts[front]
        fronts[front] = None

    def left(self, front: _Front) -> None:
        """A connection is closed, or aiohttp's."""
        if front in self.connections:
            self.connections.remove(front)
            fronts = self._idle[front.address]
            del fronts[front]
            if not fronts:
                del self._idle[front.address]

    def answer(self, text: str) -> bytes:
        """Return the whole answer that carries ``text``: a script, or what a heartbeat gets."""
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True).encode()
        body = text.encode()
        return _HEAD % (len(body), self._date, _SERVER, body)


class _Front(asyncio.Protocol):
    """One connection, until it is handed over."""

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop, first: bytes) -> None:
        self._listener = listener
        self._loop = loop
        self._desk = listener.desk
        self._first = first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._heard = self._loop.time()
        self._idle = self._loop.call_later(IDLE_SECONDS, self._check_idle)
        peer = transport.get_extra_info("peername")
        if peer is None:  # reset by its client before it was accepted
            self.abort()
            return
        self.address = str(peer[0])
        self._on_link = self._desk.on_link(self.address)
        if not self._listener.came(self):
            self.abort()
        elif self._first:
            self.data_received(self._first)

    def data_received(self, data: bytes) -> None:
        if (
            data[_PATH] != b"GET /boot/"
            or data[_VERSION] != b".ipxe HTTP/1.1"
            or len(data) > _MAX_BYTES
            or not plain_headers(data[_HEADERS])
            or not self._ask(data[_MAC].decode("latin-1"))
        ):
            self._hand_over(data)

    def _ask(self, raw: str) -> bool:
        if "-" in raw:
            if ":" in raw:
                return False  # a mixture of both separators is no MAC
            raw = raw.replace("-", ":")
        self._heard = self._loop.time()
        self._listener.heard(self)
        return self._desk.quick(raw, self.address, self._on_link, self._reply)

    def _reply(self, text: str) -> None:
        self._transport.write(self._listener.answer(text))

    def _hand_over(self, data: bytes) -> None:
        """Let aiohttp have the connection, as if it had had it from the first."""
        self._desk.settle()  # what was asked before is answered before
        self._leave()
        if self._listener.unasked is not None:
            self._listener.unasked.add(self._transport)
        handler = self._listener.handler()
        self._transport.set_protocol(handler)
        handler.connection_made(self._transport)
        handler.data_received(data)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def _leave(self) -> None:
        self._idle.cancel()
        self._listener.left(self)

    def abort(self) -> None:
        """Close the connection at once, to make room."""
        self._leave()
        self._transport.abort()

    def _check_idle(self) -> None:
        left = self._heard + IDLE_SECONDS - self._loop.time()
        if left <= 0:
            self._transport.close()
        else:
            self._idle = self._loop.call_later(left, self._check_idle)

    def close(self) -> None:
        """Close the connection once what was written is sent."""
        self._transport.close()
