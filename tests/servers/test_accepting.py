"""A connection is taken with its first request, and what goes wrong with one harms no other."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from bootserve.servers.boot.accepting import Acceptor

SECONDS = 20
AT_ONCE = b"beat"


class Echo(asyncio.Protocol):
    """Sends back what it gets, in brackets."""

    def __init__(self, door: Door, first: bytes) -> None:
        self._door = door
        self._first = first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._door.protocols.append(self._first)
        if self._first:
            self.data_received(self._first)

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"[" + data + b"]")


class Door:
    """An acceptor on the loopback."""

    def __init__(self) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = sock.getsockname()
        self.protocols: list[bytes] = []
        self.errors: list[OSError] = []
        self.acceptor = Acceptor(
            sock,
            lambda first: b"done" if first == AT_ONCE else None,
            lambda first: Echo(self, first),
            self.errors.append,
        )

    async def ask(self, *chunks: bytes, answer: int = 4) -> bytes:
        reader, writer = await asyncio.open_connection(*self.address)
        said = b""
        for chunk in chunks:
            writer.write(chunk)
            said += await reader.readexactly(answer)
        writer.close()
        return said


@contextlib.asynccontextmanager
async def door() -> AsyncIterator[Door]:
    made = Door()
    async with asyncio.timeout(SECONDS):
        yield made
    made.acceptor.close()
    made.acceptor.close()  # as often as anybody likes


async def test_what_is_known_at_once_is_answered_without_a_transport() -> None:
    async with door() as made:
        reader, writer = await asyncio.open_connection(*made.address)
        writer.write(AT_ONCE)
        assert await reader.read(-1) == b"done"  # and the connection is closed
        writer.close()
        assert made.protocols == []


async def test_other_requests_go_on_with_a_protocol_and_lose_nothing() -> None:
    async with door() as made:
        assert await made.ask(b"ab", b"cd") == b"[ab][cd]"
        assert made.protocols == [b"ab"]


async def test_a_client_that_says_nothing_is_accepted_and_heard_later() -> None:
    async with door() as made:
        reader, writer = await asyncio.open_connection(*made.address)
        while not made.protocols:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert made.protocols == [b""]
        writer.write(AT_ONCE)
        assert await reader.readexactly(6) == b"[beat]"
        writer.close()


async def test_clients_that_reset_or_leave_harm_nobody() -> None:
    async with door() as made:
        for linger in (struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)):
            with socket.create_connection(made.address) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                sock.sendall(AT_ONCE)
        assert await made.ask(b"ab") == b"[ab]"


async def test_without_room_for_a_connection_it_waits_and_is_taken_later() -> None:
    async with door() as made:
        reader, writer = await asyncio.open_connection(*made.address)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as lowest:  # the number that the next file would get
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno(), hard))
        try:
            writer.write(b"ab")
            while not made.errors:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert made.errors[0].errno == errno.EMFILE
        assert await reader.readexactly(4) == b"[ab]"
        assert len(made.errors) == 1
        writer.close()


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_closed_one_accepts_no_more(waiting: bool) -> None:
    async with door() as made:
        if waiting:
            await made.ask(b"ab")
        made.acceptor.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*made.address)
