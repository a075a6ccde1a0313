"""The process that serves TFTP: it ends with the server, and another takes its place."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bootserve.errors import NotFound, Unavailable
from bootserve.servers.pipe import Pipe
from bootserve.servers.tftp import TftpEvent, TftpEventKind, TftpServer
from bootserve.wire.tftp_packets import Ack, Data, Error, Packet, Request, parse
from tests.support.tftp import ClientSocket

HOST = "127.0.0.1"


class Files:
    """Files that change, and the questions that were asked."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {"nbp": b"first" * 1000}
        self.asked: list[str] = []

    def lookup(self, name: str) -> bytes:
        self.asked.append(name)
        if name == "away":
            raise Unavailable("the store is away", hint="wait")
        try:
            return self.content[name]
        except KeyError:
            raise NotFound("no such file") from None


@contextlib.asynccontextmanager
async def serving(files: Files, events: asyncio.Queue[TftpEvent]) -> AsyncIterator[TftpServer]:
    server = TftpServer(address=HOST, port=0, lookup=files.lookup, on_event=events.put_nowait)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Client:
    """A lock-step client that asks again after a second, as firmware does."""

    def __init__(self, port: int, number: int = 0) -> None:
        self.socket = ClientSocket((HOST, port), f"127.0.3.{number + 1}")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, packet: Packet) -> None:
        self.socket.put(packet.to_bytes())

    async def ask(self, packet: Packet) -> Packet:
        for _ in range(30):
            self.send(packet)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    return parse(await self.socket.get())
        raise AssertionError(f"no answer to {packet}")

    async def fetch(self, name: str) -> bytes:
        reply, received = await self.ask(Request(name)), b""
        while isinstance(reply, Data):
            received += reply.payload
            if len(reply.payload) < 512:
                self.send(Ack(reply.block))
                return received
            reply = await self.ask(Ack(reply.block))
        raise AssertionError(reply)


async def fetch(server: TftpServer, name: str) -> bytes:
    with Client(server.port) as client:
        return await client.fetch(name)


async def ask(server: TftpServer, name: str) -> Packet:
    with Client(server.port) as client:
        return await client.ask(Request(name))


async def test_a_worker_that_crashes_is_told_of_and_another_takes_its_place() -> None:
    files, events = Files(), asyncio.Queue[TftpEvent]()
    async with serving(files, events) as server:
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert await fetch(server, "nbp") == files.content["nbp"]
        assert server.pid not in (None, first)
        async with asyncio.timeout(30):
            trouble, completed = await events.get(), await events.get()
    assert (trouble.kind, completed.kind) == (TftpEventKind.TROUBLE, TftpEventKind.COMPLETED)
    assert trouble.detail == "the TFTP process ended with -9; another takes its place"


async def test_a_worker_that_cannot_be_started_again_is_told_of_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files, events = Files(), asyncio.Queue[TftpEvent]()
    async with serving(files, events) as server:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", "/no/such/python")
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            async with asyncio.timeout(30):
                told = [(await events.get()).detail for _ in range(2)]
        assert told[1].startswith("the TFTP process cannot be started: No such file")
        assert await fetch(server, "nbp") == files.content["nbp"]


async def test_signals_that_go_to_every_process_leave_the_end_to_the_server() -> None:
    files = Files()
    async with serving(files, asyncio.Queue()) as server:
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        assert await fetch(server, "nbp") == files.content["nbp"]
        assert server.pid == pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_worker_that_hangs_is_killed_at_the_stop() -> None:
    async with serving(Files(), asyncio.Queue()) as server:
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_worker_has_no_rights() -> None:
    async with serving(Files(), asyncio.Queue()) as server:
        status = status_of(server.pid)
    assert (status["CapEff"], status["CapPrm"], status["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")


def status_of(pid: int | None) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_a_worker_ends_with_the_server() -> None:
    program = textwrap.dedent("""
        import asyncio
        from bootserve.servers.tftp import TftpServer

        async def main():
            server = TftpServer(address="127.0.0.1", port=0, lookup=None, on_event=None)
            await server.start()
            print(server.pid, flush=True)
            await asyncio.sleep(3600)

        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    end = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie that its new parent has yet to collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_file_that_changes_is_served_as_it_is_a_second_later() -> None:
    files = Files()
    async with serving(files, asyncio.Queue()) as server:
        assert await fetch(server, "nbp") == files.content["nbp"]
        files.content["nbp"] = b"second" * 1000
        await asyncio.sleep(1.1)
        assert await fetch(server, "nbp") == files.content["nbp"]


async def test_what_was_refused_is_asked_again_each_time() -> None:
    files = Files()
    async with serving(files, asyncio.Queue()) as server:
        assert await ask(server, "new") == Error(1, "no such file")
        assert await ask(server, "away") == Error(0, "the store is away")
        files.content["new"] = b"now it is there"
        assert await fetch(server, "new") == b"now it is there"


async def test_a_storm_of_requests_for_one_file_asks_the_server_once_a_second() -> None:
    files = Files()
    async with serving(files, asyncio.Queue()) as server:
        began = time.monotonic()
        fetched = await asyncio.gather(*(fetch(server, "nbp") for _ in range(100)))
        seconds = time.monotonic() - began
    assert fetched == [files.content["nbp"]] * 100
    assert len(files.asked) <= 1 + seconds


async def test_a_process_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unavailable, match="the TFTP process cannot be started: No such file"):
        async with serving(Files(), asyncio.Queue()):
            pass


async def test_answers_that_find_no_room_in_the_pipe_are_sent_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each client asks once, for a file of its own, of a worker that does not read meanwhile."""
    ours: list[socket.socket] = []
    pair = Pipe.pair

    def narrow() -> tuple[socket.socket, socket.socket]:
        ends = pair()
        ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        ours.append(ends[0])
        return ends

    monkeypatch.setattr(Pipe, "pair", narrow)
    files = Files()
    names = [f"no{number:03}" for number in range(100)]
    async with serving(files, asyncio.Queue()) as server:
        assert server.pid is not None
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(server.port, number)) for number in range(100)]
            for client, name in zip(clients, names, strict=True):
                client.send(Request(name))
            questions = sum(len(json.dumps({"find": name})) for name in names)
            wait_for(lambda: unread(ours[0]) == questions)  # the loop stands still for so long
            os.kill(server.pid, signal.SIGSTOP)
            async with asyncio.timeout(60):
                while unread(ours[0]):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert len(files.asked) < len(names)
            os.kill(server.pid, signal.SIGCONT)
            async with asyncio.timeout(60):
                answers = [parse(await one.socket.get()) for one in clients]
    assert answers == [Error(1, "no such file")] * 100


def unread(sock: socket.socket) -> int:
    """Return how many bytes have come and were not read."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0])


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


async def test_more_files_than_are_kept_are_all_served() -> None:
    files = Files()
    for number in range(100):
        files.content[f"f{number}"] = str(number).encode() * 1000
    async with serving(files, asyncio.Queue()) as server:
        for name, content in files.content.items():
            assert await fetch(server, name) == content
