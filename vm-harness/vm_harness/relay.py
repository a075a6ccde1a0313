"""A relay between the nodes and bootserve's HTTP port that can damage what passes.

It runs as a process of its own (``python -m vm_harness.relay``), is given the nodes' connections by
nft and passes them on *from the node's own address* (IP_TRANSPARENT), so that bootserve sees what
it would see without it. Its stdin takes one JSON rule a line, ``null`` for
none; for each it answers a JSON line, and for each response that it damages another.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from dataclasses import dataclass
from typing import Any, Literal, get_args

from vm_harness.errors import HarnessError

__all__ = ["MARK", "Damage", "Relay", "Rule"]

MARK = 0x766D68  # what nft and the routing rules know the relay's own connections by
_IP_TRANSPARENT = 19
_CHUNK = 1 << 16
_HEAD_LIMIT = 1 << 16

Damage = Literal["flip", "stall", "cut"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Damage responses to GET whose path matches ``path`` (a regular expression, searched for).

    At ``offset`` of the file (for a Range response: of the whole file, not of the part) one byte is
    flipped in all its bits, or nothing more is sent while the connection stays open, or it is cut.
    ``times`` is how many responses, 0 for all.
    """

    path: str
    damage: Damage
    offset: int
    times: int = 0

    def __post_init__(self) -> None:
        if self.damage not in get_args(Damage):
            raise HarnessError(f"damage {self.damage!r} is none of {get_args(Damage)}")
        if self.offset < 0 or self.times < 0:
            raise HarnessError("offset and times are not negative")
        try:
            re.compile(self.path)
        except re.error as error:
            raise HarnessError(f"{self.path!r} is not a regular expression: {error}") from None


@dataclass(slots=True)
class _Head:
    """The start line and headers of a message, as received and parsed."""

    raw: bytes
    start: str
    headers: dict[str, str]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> _Head | None:
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        start, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(raw, start, {name.strip().lower(): value.strip() for name, _, value in pairs})

    @property
    def length(self) -> int | None:
        """The announced length of the body, None when there is no announcement."""
        value = self.headers.get("content-length")
        return int(value) if value is not None else None

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def first_byte(self) -> int:
        """Where in the file the body starts (RFC 9110 section 14.4)."""
        match = re.match(r"bytes (\d+)-", self.headers.get("content-range", ""))
        return int(match[1]) if match else 0


class _Cut(Exception):
    """The connection is to be cut here."""


class Relay:
    """The relay: ``upstream`` is bootserve's address and port."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._rule: Rule | None = None
        self._left = 0
        self._released = asyncio.Event()

    def set_rule(self, rule: Rule | None) -> None:
        """Use ``rule`` for responses that begin from now on, and cut those that stand still."""
        self._released.set()
        self._released = asyncio.Event()
        self._rule = rule
        self._left = rule.times if rule else 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one client's connection to its end."""
        try:
            near, far = await self._connect(writer.get_extra_info("peername"))
            try:
                while await self._exchange(reader, writer, near, far):
                    pass
            finally:
                far.transport.abort()
        except (_Cut, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # either side may go at any time
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def _connect(
        self, client: tuple[str, int]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            stream.setblocking(False)
            stream.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
            _bind_beside(stream, client)
            await asyncio.get_running_loop().sock_connect(stream, self._upstream)
            return await asyncio.open_connection(sock=stream, limit=_HEAD_LIMIT)
        except BaseException:
            stream.close()
            raise

    async def _exchange(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> bool:
        """Relay one request and its response; return whether another may follow."""
        request = await _Head.read(client)
        if request is None:
            return False
        method, _, rest = request.start.partition(" ")
        to_server.write(request.raw)
        await self._body(request, client, to_server, request.length or 0, None)
        response = await _Head.read(server)
        if response is None:
            return False
        to_client.write(response.raw)
        status = response.start.split(" ")[1]
        bodiless = method == "HEAD" or status in {"204", "304"} or status.startswith("1")
        length = 0 if bodiless else response.length
        rule = self._applies(method, rest.rpartition(" ")[0], response, length)
        await self._body(response, server, to_client, length, rule)
        closes = "close" in response.headers.get("connection", "").lower()
        return not closes and (length is not None or response.chunked)

    def _applies(self, method: str, path: str, response: _Head, length: int | None) -> Rule | None:
        rule = self._rule
        if rule is None or method != "GET" or not re.search(rule.path, path):
            return None
        first = response.first_byte
        if not first <= rule.offset < first + (length or 0) or (rule.times and not self._left):
            return None
        self._left -= 1 if rule.times else 0
        _say({"damaged": rule.damage, "path": path, "offset": rule.offset})
        return rule

    async def _body(
        self,
        head: _Head,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        length: int | None,
        rule: Rule | None,
    ) -> None:
        if length is None and head.chunked:
            await _chunks(source, sink)
            return
        at = head.first_byte
        left = length
        while left is None or left > 0:
            data = await source.read(_CHUNK if left is None else min(left, _CHUNK))
            if not data:
                if left is None:
                    break
                raise _Cut
            if rule and at <= rule.offset < at + len(data):
                data = await self._damage(rule, data, rule.offset - at, sink)
            sink.write(data)
            await sink.drain()
            at += len(data)
            left = None if left is None else left - len(data)
        await sink.drain()

    async def _damage(
        self, rule: Rule, data: bytes, index: int, sink: asyncio.StreamWriter
    ) -> bytes:
        if rule.damage == "flip":
            return data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :]
        sink.write(data[:index])
        await sink.drain()
        if rule.damage == "stall":
            await self._released.wait()
        raise _Cut


async def _chunks(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Relay a chunked body (RFC 9112 section 7.1), trailers included."""
    while True:
        size_line = await source.readuntil(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        sink.write(size_line)
        if size == 0:
            break
        sink.write(await source.readexactly(size + 2))
        await sink.drain()
    while (line := await source.readuntil(b"\r\n")) != b"\r\n":
        sink.write(line)
    sink.write(b"\r\n")
    await sink.drain()


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def _bind_beside(stream: socket.socket, client: tuple[str, int]) -> None:
    """Bind to the client's address and another port than its own.

    The server's kernel tracks both connections; were they the same to it, it would mix them up.
    """
    try:
        stream.bind((client[0], client[1] ^ 1))
    except OSError:
        stream.bind((client[0], 0))


async def _main(upstream: tuple[str, int]) -> None:
    relay = Relay(upstream)
    server = await asyncio.start_server(relay.serve, "0.0.0.0", 0, limit=_HEAD_LIMIT)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    _say({"listening": server.sockets[0].getsockname()[1]})
    while line := await commands.readline():
        raw = json.loads(line)
        relay.set_rule(Rule(**raw) if raw else None)
        _say({"rule": raw})
    server.close()


if __name__ == "__main__":
    asyncio.run(_main((sys.argv[1], int(sys.argv[2]))))
