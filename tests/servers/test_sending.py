"""Files arrive whole, warm and cold, and whoever goes away leaves nothing open."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from bootserve.servers.boot.sending import Sender

SECONDS = 60
SIZE = 20_000_000
Sent = Callable[[asyncio.StreamWriter], Awaitable[None]]


BYTES = random.Random(1).randbytes(SIZE)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "file"
    path.write_bytes(BYTES)
    return path


@contextlib.asynccontextmanager
async def served(
    sent: Sent,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.Task[None]]]:
    """A connection whose other end does ``sent``, and the task that does it."""
    tasks: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()

    async def work(writer: asyncio.StreamWriter) -> None:
        try:
            await sent(writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.put_nowait(asyncio.current_task() or asyncio.create_task(asyncio.sleep(0)))
        await work(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(SECONDS):
            yield reader, writer, await tasks.get()
    finally:
        writer.close()
        server.close()
        await server.wait_closed()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


Sending = Callable[..., Sent]


@pytest.fixture
def sending() -> Iterator[Sending]:
    with Sender() as sender:

        def sending(path: Path, start: int = 0, stop: int = SIZE, head: bytes = b"") -> Sent:
            async def sent(writer: asyncio.StreamWriter) -> None:
                if head:
                    writer.write(head)
                with path.open("rb") as file:
                    await sender.send(writer.transport, file, start, stop)

            return sent

        yield sending


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (5, 65541), (0, 65537), (7, 8 << 20), (0, SIZE), (SIZE - 1, SIZE)],
)
async def test_every_byte_arrives_behind_what_was_written_before(
    sending: Sending, file: Path, start: int, stop: int
) -> None:
    head = b"h" * 3_000_000  # more than a socket takes at once
    async with served(sending(file, start, stop, head)) as (reader, _, _):
        got = await reader.read(-1)
    expected = head + BYTES[start:stop]
    assert hashlib.sha256(got).digest() == hashlib.sha256(expected).digest()


async def test_a_file_that_is_only_on_the_disk_is_read_and_sent(
    sending: Sending, file: Path
) -> None:
    fd = os.open(file, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    async with served(sending(file)) as (reader, _, _):
        assert await reader.read(-1) == BYTES


async def test_a_slow_client_gets_all_of_it(sending: Sending, file: Path) -> None:
    got = bytearray()
    async with served(sending(file)) as (reader, _, _):
        while chunk := await reader.read(1 << 20):
            got += chunk
            await asyncio.sleep(0.03)
    assert bytes(got) == BYTES


@pytest.mark.parametrize("cancelled", [True, False])
async def test_who_goes_away_leaves_no_file_open(
    sending: Sending, file: Path, cancelled: bool
) -> None:
    await asyncio.to_thread(len, b"")
    before = open_files()
    async with served(sending(file)) as (reader, writer, task):
        await reader.readexactly(100_000)
        if cancelled:
            task.cancel()
            rest = await reader.read(-1)
            assert len(rest) < SIZE - 100_000
        else:
            writer.transport.abort()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await task
        assert task.done()
    await asyncio.get_running_loop().shutdown_default_executor()  # threads let go
    await asyncio.sleep(0)
    assert open_files() == before


async def test_many_at_once(sending: Sending, file: Path) -> None:
    expected = hashlib.sha256(BYTES).digest()

    async def fetch() -> bytes:
        async with served(sending(file)) as (reader, _, _):
            return hashlib.sha256(await reader.read(-1)).digest()

    assert await asyncio.gather(*(fetch() for _ in range(20))) == [expected] * 20
