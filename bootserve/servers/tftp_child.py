"""The server's end of its TFTP worker: starts it, answers its questions, starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from bootserve.errors import BootserveError, Unavailable
from bootserve.servers.tftp_engine import TftpEvent, TftpEventKind, find_file
from bootserve.servers.tftp_pipe import Pipe, PipeClosed, unpack_event

__all__ = ["TftpChild"]

_START_SECONDS = 60.0
_STOP_SECONDS = 2.0
_PAUSE = 1.0
"""Seconds between the end of a worker and the start of the next."""
_MESSAGES = 32
"""Messages that are read in one turn of the loop at most."""
_CONTENTS = 8
_UNANSWERED = 1024
"""Questions that wait for room in the pipe at most; a worker asks again what it has to know."""


class _Contents:
    """Files that were given to a worker lately, each as a number and a file in memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[bytes, int, int]] = OrderedDict()
        self._last = 0

    def share(self, content: bytes) -> tuple[int, int]:
        """Return the number of ``content`` and a file descriptor, which stays this object's."""
        kept = self._kept.get(id(content))
        if kept is None:
            self._last += 1
            # The content is kept as well, so that its id is not given to another.
            kept = self._kept[id(content)] = content, self._last, _file_of(content)
        self._kept.move_to_end(id(content))
        if len(self._kept) > _CONTENTS:
            os.close(self._kept.popitem(last=False)[1][2])
        return kept[1:]

    def close(self) -> None:
        """Give the files back."""
        while self._kept:
            os.close(self._kept.popitem()[1][2])


def _file_of(content: bytes) -> int:
    fd = os.memfd_create("nbp", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    return fd


class TftpChild:
    """Runs a worker for the bound socket ``sock``, for as long as it is started.

    ``terms`` are the worker's bounds. ``lookup`` and ``on_event`` are called on the loop. A worker
    that ends by itself is an event of kind TROUBLE, and another takes its place; the transfers
    that it had are lost, and their clients ask again.
    """

    def __init__(
        self,
        sock: socket.socket,
        terms: dict[str, int],
        lookup: Callable[[str], bytes],
        on_event: Callable[[TftpEvent], None],
    ) -> None:
        self._socket = sock
        self._terms = terms
        self._lookup = lookup
        self._on_event = on_event
        self._contents = _Contents()
        self._pipe: Pipe | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._unanswered: dict[str, None] = {}

    @property
    def pid(self) -> int | None:
        """The worker's process id, None before the start."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start a worker; raises Unavailable when it does not begin to serve."""
        process = await self._spawn()
        serving = asyncio.create_task(self._ready.wait())
        ended = asyncio.create_task(process.wait())
        try:
            await asyncio.wait(
                (serving, ended), timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if not self._ready.is_set():
                raise Unavailable(
                    "the TFTP process does not start",
                    hint="What it said on standard error tells why.",
                )
        except BaseException:
            await self.stop()
            raise
        finally:
            serving.cancel()
            ended.cancel()
        self._watch = asyncio.create_task(self._keep_running())

    def again(self, address: str) -> None:
        """Tell the worker that the machine at ``address`` starts anew, if there is room for it."""
        if self._pipe is not None:
            with contextlib.suppress(PipeClosed):
                self._pipe.send({"again": address})

    async def stop(self) -> None:
        """Let the worker tell its clients and end; kill it if it does not."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        if self._pipe is not None and self._process is not None:
            with contextlib.suppress(PipeClosed):
                self._pipe.send({"stop": True})
            await self._end(self._process)
            self._drain()
        self._close_pipe()
        self._contents.close()

    @staticmethod
    async def _end(process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        ours, theirs = Pipe.pair()
        self._pipe = Pipe(ours)
        asyncio.get_running_loop().add_reader(ours, self._on_readable)
        fds = self._socket.fileno(), theirs.fileno()
        words = (*map(str, fds), json.dumps(self._terms))
        with theirs:
            # -P: the directory that the server was started in is no place to import from.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "bootserve.servers.tftp_worker", *words),
                pass_fds=fds,
                stdin=asyncio.subprocess.DEVNULL,
            )
        return self._process

    async def _keep_running(self) -> None:
        while self._process is not None:
            code = await self._process.wait()
            self._drain()
            self._close_pipe()
            self._tell(f"the TFTP process ended with {code}; another takes its place")
            await self._spawn_again()

    async def _spawn_again(self) -> None:
        """Start another worker, however long it takes until that can be done."""
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                await self._spawn()
            except OSError as error:
                self._close_pipe()
                self._tell(f"the TFTP process cannot be started: {error.strerror}; tried again")
            else:
                return

    def _tell(self, detail: str, left_out: int = 0) -> None:
        self._on_event(TftpEvent(TftpEventKind.TROUBLE, ("", 0), detail=detail, left_out=left_out))

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            self._unanswered.clear()
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._pipe)
            loop.remove_writer(self._pipe)
            self._pipe.close()
            self._pipe = None

    def _on_readable(self) -> None:
        """Read what the worker says, some of it: others have their turn."""
        if self._pipe is None:
            return
        try:
            self._read(self._pipe)
        except PipeClosed:
            # Its process has ended, which is waited for elsewhere.
            asyncio.get_running_loop().remove_reader(self._pipe)

    def _drain(self) -> None:
        """Read all that a worker said before it ended."""
        with contextlib.suppress(PipeClosed):
            while self._pipe is not None and self._read(self._pipe):
                pass

    def _read(self, pipe: Pipe) -> bool:
        """Read some messages; return whether there may be more. Raises PipeClosed."""
        for _ in range(_MESSAGES):
            received = pipe.receive()
            if received is None:
                return False
            self._take(pipe, received[0])
        return True

    def _take(self, pipe: Pipe, message: dict[str, Any]) -> None:
        if "find" in message:
            self._answer(pipe, message["find"])
        elif "events" in message:
            for fields in message["events"]:
                self._on_event(unpack_event(fields))
            if message["left_out"]:
                left_out = message["left_out"]
                self._tell(f"{left_out} more requests came to nothing", left_out)
        else:
            self._ready.set()

    def _answer(self, pipe: Pipe, name: str) -> None:
        """Answer with a file, as soon as there is room for it."""
        if not self._unanswered and self._send_answer(pipe, name):
            return
        self._unanswered[name] = None
        if len(self._unanswered) > _UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
        asyncio.get_running_loop().add_writer(pipe, self._on_writable)

    def _on_writable(self) -> None:
        """Answer what waits, as far as there is room."""
        if self._pipe is None:
            return
        with contextlib.suppress(PipeClosed):  # what is left then goes with the pipe
            while self._unanswered:
                name = next(iter(self._unanswered))
                if not self._send_answer(self._pipe, name):
                    return
                del self._unanswered[name]
        asyncio.get_running_loop().remove_writer(self._pipe)

    def _send_answer(self, pipe: Pipe, name: str) -> bool:
        """Answer with a file or an error; return whether there was room."""
        try:
            number, fd = self._contents.share(find_file(self._lookup, name))
        except BootserveError as error:
            refused = str(error), error.hint, error.tftp_code
            return pipe.send({"found": name, "refused": refused})
        return pipe.send({"found": name, "content": number}, fd)
