"""What clients that only take up room can hold: connections, a first request's time, a body's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import structlog
from aiohttp import web
from structlog.testing import LogCapture

from bootserve.servers.boot.app import make_app
from bootserve.servers.boot.front import Listener, Unasked
from bootserve.servers.boot.scripts import routes
from bootserve.service.calm import Calm
from bootserve.service.weblog import make_web_logger
from tests.servers.test_front import World

PLAIN = b"GET /boot/52-54-00-00-00-%02x.ipxe HTTP/1.1\r\nHost: a\r\n\r\n"
OTHER = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /swallow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12"
BEAT = b"POST /heartbeat/b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
SECONDS = 30


async def swallow(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


class Bounded:
    """The boot plane's scripts behind a listener of few connections."""

    def __init__(self, world: World, most: int, seconds: float) -> None:
        self.captured = LogCapture()
        self.calm = Calm(structlog.wrap_logger(None, processors=[self.captured]))
        self.unasked = Unasked(seconds)
        extra = web.post("/swallow", swallow)
        app = make_app([*routes(world.desk), extra], self.calm, self.unasked.asked)
        self.runner = web.AppRunner(app, access_log=None, logger=make_web_logger(self.calm))
        self._world, self._most = world, most
        self._clients: list[Client] = []

    async def start(self) -> None:
        await self.runner.setup()
        server = cast(web.Server, self.runner.server)
        self.listener = Listener(
            self._world.desk,
            cast(Callable[[], asyncio.Protocol], server),
            unasked=self.unasked,
            busy=lambda: len(server.connections),
            max_connections=self._most,
        )
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = int(sock.getsockname()[1])
        self.listener.start(sock)

    async def stop(self) -> None:
        for client in self._clients:
            await client.close()
        await self.listener.stop()
        await self.runner.cleanup()
        self._world.journal.close()

    async def connect(self, source: str = "127.0.0.2") -> Client:
        streams = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        self._clients.append(Client(*streams))
        return self._clients[-1]

    async def accepted(self, count: int) -> None:
        """Wait until it has ``count`` connections; those that ask for nothing come in late."""
        async with asyncio.timeout(SECONDS):
            while len(self.listener.connections) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def reset_at_once(port: int, data: bytes) -> None:
    """Connect, send ``data``, and reset the connection, all before the server's next turn."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.send(data)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Client:
    """A connection to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> bytes:
        """Return the first line of the answer; it is read to its end."""
        self._writer.write(request)
        async with asyncio.timeout(SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            await self._reader.readexactly(int(fields[b"content-length"]))
        return head.split(b"\r\n")[0]

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def wait_closed(self) -> None:
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionError):
                assert await self._reader.read() == b""

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


Make = Callable[..., Awaitable[Bounded]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Bounded] = []

    async def make(most: int = 100, seconds: float = SECONDS) -> Bounded:
        made.append(Bounded(World(tmp_path / "j", "10.0.0.1/24", None), most, seconds))
        await made[-1].start()
        return made[-1]

    yield make
    for one in made:
        await one.stop()


async def test_the_longest_idle_connection_gives_way_to_a_new_one(make: Make) -> None:
    server = await make(most=4)
    idle = []
    for number in range(4):
        idle.append(await server.connect())
        await server.accepted(number + 1)
    assert await idle[0].ask(PLAIN % 1) == b"HTTP/1.1 200 OK"  # so it is the second that is oldest
    new = await server.connect()
    assert await new.ask(PLAIN % 2) == b"HTTP/1.1 200 OK"
    await idle[1].wait_closed()
    for number, one in enumerate((idle[0], idle[2], idle[3])):
        assert await one.ask(PLAIN % (3 + number)) == b"HTTP/1.1 200 OK"
    assert len(server.listener.connections) == 4


async def test_an_address_that_takes_all_room_makes_room_itself(make: Make) -> None:
    server = await make(most=6)
    oldest = await server.connect("127.0.0.3")
    await server.accepted(1)
    for _ in range(5):
        await server.connect("127.0.0.2")
    await server.accepted(6)
    rack = [await server.connect("127.0.0.4") for _ in range(2)]
    for number, one in enumerate((oldest, *rack)):
        assert await one.ask(PLAIN % number) == b"HTTP/1.1 200 OK"
    left = Counter(one.address for one in server.listener.connections)
    assert left == {"127.0.0.2": 3, "127.0.0.3": 1, "127.0.0.4": 2}


async def test_what_works_is_not_closed_for_a_new_one(make: Make) -> None:
    server = await make(most=3)
    working = [await server.connect() for _ in range(3)]
    for one in working:
        assert await one.ask(OTHER) == b"HTTP/1.1 404 Not Found"
    await (await server.connect()).wait_closed()
    assert await working[0].ask(OTHER) == b"HTTP/1.1 404 Not Found"
    await working[1].close()
    async with asyncio.timeout(SECONDS):
        while len(cast(web.Server, server.runner.server).connections) > 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await (await server.connect()).ask(PLAIN % 1) == b"HTTP/1.1 200 OK"


async def test_a_first_request_that_does_not_end_is_given_up(make: Make) -> None:
    server = await make(seconds=0.2)
    slow, quick = await server.connect(), await server.connect()
    assert await quick.ask(OTHER) == b"HTTP/1.1 404 Not Found"
    await slow.send(b"GET /artifacts/sha256/0 HTTP/1.1\r\nHost: a\r\nX-Sl")
    await slow.wait_closed()
    await asyncio.sleep(0.3)
    assert await quick.ask(OTHER) == b"HTTP/1.1 404 Not Found"
    assert len(server.unasked) == 0


async def test_a_body_that_does_not_come_is_given_up(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootserve.servers.boot.app.BODY_SECONDS", 0.2)
    server = await make()
    slow, whole = await server.connect(), await server.connect()
    await slow.send(POST)
    await slow.wait_closed()
    assert await whole.ask(POST + b"345") == b"HTTP/1.1 200 OK"
    assert [line["event"] for line in server.captured.entries] == ["stalled"]


async def test_nonsense_is_a_line_and_a_count(
    make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    server = await make()
    for _ in range(50):
        client = await server.connect()
        answer = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\nb\0d: 1\r\n\r\n")
        assert answer == b"HTTP/1.0 400 Bad Request"
        await client.close()
    assert server.calm.counts["malformed"] == 50
    assert len(server.captured.entries) == 20
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "data", [PLAIN % 9, OTHER, BEAT, b"G"], ids=["script", "other", "heartbeat", "part"]
)
async def test_clients_that_reset_before_they_are_accepted_leave_no_trace(
    make: Make, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], data: bytes
) -> None:
    server = await make()
    for _ in range(50):
        reset_at_once(server.port, data)
    assert await (await server.connect()).ask(PLAIN % 1) == b"HTTP/1.1 200 OK"
    async with asyncio.timeout(SECONDS):
        while len(server.listener.connections) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert [record.getMessage() for record in caplog.records] == []
    assert capfd.readouterr().err == ""
