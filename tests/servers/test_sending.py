"""Files arrive whole, warm and cold, and whoever goes away leaves nothing open."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import random
import resource
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from bootserve.servers.boot import sending_worker
from bootserve.servers.boot.sending import FIRST, Sender
from bootserve.servers.boot.sending_worker import Worker
from bootserve.servers.pipe import Message, Pipe, PipeClosed
from bootserve.servers.rights import read_rights

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


class Sending:
    """A sender, and what it was told is wrong with its process."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
        self.sender = Sender(self.troubles.append)

    def __call__(self, path: Path, start: int = 0, stop: int = SIZE, head: bytes = b"") -> Sent:
        """Return what a connection's other end does: it sends a part of a file."""

        async def sent(writer: asyncio.StreamWriter) -> None:
            if head:
                writer.write(head)
            with path.open("rb") as file:
                await self.sender.send(writer.transport, file, start, stop)

        return sent

    def open_files(self) -> list[list[str]]:
        """What is open in this process and in the one that sends."""
        return [sorted(os.listdir(f"/proc/{pid}/fd")) for pid in ("self", self.sender.pid)]


@pytest.fixture
async def sending() -> AsyncIterator[Sending]:
    sending = Sending()
    await sending.sender.start()
    yield sending
    await sending.sender.stop()


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 (another process does it)
            await asyncio.sleep(0.01)


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
    before = sending.open_files()
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
    await eventually(lambda: sending.open_files() == before)


async def test_many_at_once(sending: Sending, file: Path) -> None:
    expected = hashlib.sha256(BYTES).digest()

    async def fetch() -> bytes:
        async with served(sending(file)) as (reader, _, _):
            return hashlib.sha256(await reader.read(-1)).digest()

    assert await asyncio.gather(*(fetch() for _ in range(20))) == [expected] * 20


async def test_a_process_that_is_killed_loses_its_transfers_and_another_takes_its_place(
    sending: Sending, file: Path
) -> None:
    first = sending.sender.pid
    assert first is not None
    async with served(sending(file)) as (reader, _, task):
        await reader.readexactly(100_000)
        os.kill(first, signal.SIGKILL)
        assert len(await reader.read(-1)) < SIZE - 100_000
        with pytest.raises(ConnectionResetError, match="the sending process ended"):
            await task
    async with served(sending(file)) as (reader, _, _):  # meanwhile, by this process
        assert await reader.read(-1) == BYTES
    assert sending.troubles == ["the sending process ended with -9; another takes its place"]
    await eventually(lambda: sending.sender.pid not in (None, first))
    async with served(sending(file)) as (reader, _, _):
        assert await reader.read(-1) == BYTES


async def test_a_process_that_has_no_room_for_more_files_leaves_it_to_the_server(
    sending: Sending, file: Path
) -> None:
    pid = sending.sender.pid
    assert pid is not None
    used = {int(number) for number in os.listdir(f"/proc/{pid}/fd")}
    _, room, *_ = [number for number in range(99) if number not in used]  # for one, and two come
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (room, room))
    async with served(sending(file)) as (reader, _, _):
        assert await reader.read(-1) == BYTES
    assert set(sending.troubles) == {
        "the sending process has too many files open; the server sends by itself"
    }


async def test_a_client_that_says_it_is_done_is_sent_no_more(sending: Sending, file: Path) -> None:
    async with served(sending(file)) as (reader, writer, task):
        await reader.readexactly(100_000)
        writer.write_eof()
        assert len(await reader.read(-1)) < SIZE - 100_000
        with pytest.raises(ConnectionResetError, match="the client went away"):
            await task


async def test_nothing_of_a_file_is_sent_at_once(sending: Sending, file: Path) -> None:
    async with served(sending(file, 5, 5, b"head")) as (reader, _, _):
        assert await reader.read(-1) == b"head"


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ({"errno": errno.EIO}, OSError, "Input/output error"),
        ({"errno": errno.EPIPE}, ConnectionResetError, "the client went away"),
        ({"short": True}, ConnectionResetError, "the file became shorter"),
        ({"slow": True}, TimeoutError, "the client takes too little"),
    ],
)
async def test_what_went_wrong_in_the_process_is_raised(
    sending: Sending, file: Path, said: Message, kind: type[Exception], words: str
) -> None:
    """The process does not answer; it is said for it what it would say."""
    pid = sending.sender.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    async with served(sending(file)) as (reader, _, task):
        await reader.readexactly(FIRST)
        await eventually(lambda: bool(sending.sender._waiting))
        [number] = sending.sender._waiting
        pipe = sending.sender._child.pipe
        assert pipe is not None
        sending.sender._take(pipe, {"sent": number, **said})
        with pytest.raises(kind, match=words) as raised:
            await task
    assert type(raised.value) is kind
    os.kill(pid, signal.SIGCONT)


async def test_it_holds_no_right_and_goes_last(sending: Sending) -> None:
    pid = sending.sender.pid
    assert pid is not None
    rights = read_rights(pid)
    assert {rights[one] for one in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}
    assert rights["NoNewPrivs"] == 1
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 5


@contextlib.contextmanager
def worker() -> Iterator[tuple[Pipe, threading.Thread]]:
    """The process' work in a thread of this one, and the server's end of its pipe."""
    ours, theirs = Pipe.pair()
    pipe = Pipe(ours)
    thread = threading.Thread(target=Worker(Pipe(theirs)).run)
    thread.start()
    try:
        yield pipe, thread
    finally:
        with contextlib.suppress(PipeClosed):
            pipe.send({"stop": True})
        thread.join(SECONDS)
        pipe.close()
        theirs.close()


def said(pipe: Pipe) -> Message:
    """The next message, however long it takes."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if received := pipe.receive():
            return received[0]
        time.sleep(0.01)
    raise TimeoutError


def test_a_client_that_takes_nothing_is_given_up(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_worker, "SLICE_SECONDS", 0.2)
    with worker() as (pipe, _), file.open("rb") as opened:
        assert said(pipe) == {"ready": True}
        to, taker = socket.socketpair()
        with to, taker:
            to.setblocking(False)
            message = {"send": 3, "start": 0, "stop": SIZE}
            pipe.send(message, to.fileno(), opened.fileno())
            assert said(pipe) == {"sent": 3, "slow": True}


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"abc")
    with worker() as (pipe, _), path.open("rb") as opened:
        assert said(pipe) == {"ready": True}
        to, taker = socket.socketpair()
        with to, taker:
            to.setblocking(False)
            pipe.send({"send": 1, "start": 0, "stop": 9}, to.fileno(), opened.fileno())
            assert said(pipe) == {"sent": 1, "short": True}
            assert taker.recv(10) == b"abc"


def test_what_is_handed_over_without_its_files_is_refused(file: Path) -> None:
    with worker() as (pipe, _), file.open("rb") as opened:
        assert said(pipe) == {"ready": True}
        pipe.send({"send": 1, "start": 0, "stop": 9}, opened.fileno())
        assert said(pipe) == {"sent": 1, "refused": True}


def test_it_ends_with_the_server() -> None:
    with worker() as (pipe, thread):
        assert said(pipe) == {"ready": True}
        pipe.close()
        thread.join(SECONDS)
        assert not thread.is_alive()
