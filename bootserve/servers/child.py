"""A process of the server's own: started, heard, and started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence

from bootserve.errors import Unavailable
from bootserve.servers.pipe import Message, Pipe, PipeClosed

__all__ = ["Child"]

_START_SECONDS = 60.0
_STOP_SECONDS = 2.0
_PAUSE = 1.0
"""Seconds between the end of a process and the start of the next."""
_MESSAGES = 32
"""Messages that are read in one turn of the loop at most."""


class Child:
    """Runs ``python -m MODULE FDS… PIPE WORDS…``, for as long as it is started.

    ``name`` is what it is called in errors; it inherits the file descriptors ``fds`` and its end
    of the pipe, and says ``ready`` when it is. ``take`` is called on the loop with each other
    message, ``closed`` when a process and its pipe are gone, and ``trouble`` with what is wrong,
    such as that it ended by itself: another takes its place.
    """

    def __init__(
        self,
        name: str,
        module: str,
        words: Sequence[str] = (),
        fds: Sequence[int] = (),
        *,
        take: Callable[[Pipe, Message], None],
        closed: Callable[[], None],
        trouble: Callable[[str], None],
    ) -> None:
        self._name = name
        self._module = module
        self._words = words
        self._fds = fds
        self._take = take
        self._closed = closed
        self._trouble = trouble
        self._pipe: Pipe | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id, None before the start."""
        return None if self._process is None else self._process.pid

    @property
    def pipe(self) -> Pipe | None:
        """The pipe to the process, None while there is none."""
        return self._pipe

    @property
    def ready(self) -> bool:
        """Whether the process that runs now has said that it is ready."""
        return self._ready.is_set()

    async def start(self) -> None:
        """Start the process; raises Unavailable when it does not say that it is ready."""
        try:
            process = await self._spawn()
        except OSError as error:
            self._close_pipe()
            raise Unavailable(
                f"the {self._name} process cannot be started: {error.strerror}"
            ) from None
        ready = asyncio.create_task(self._ready.wait())
        ended = asyncio.create_task(process.wait())
        try:
            await asyncio.wait(
                (ready, ended), timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if not self._ready.is_set():
                raise Unavailable(
                    f"the {self._name} process does not start",
                    hint="What it said on standard error tells why.",
                )
        except BaseException:
            await self.stop()
            raise
        finally:
            ready.cancel()
            ended.cancel()
        self._watch = asyncio.create_task(self._keep_running())

    def send(self, message: Message, *fds: int) -> bool:
        """Send a message if there is a process and room for it; return whether it was sent."""
        if self._pipe is None:
            return False
        try:
            return self._pipe.send(message, *fds)
        except PipeClosed:
            return False

    async def stop(self) -> None:
        """Tell the process to stop and wait for its end; kill it if it does not."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        if self._pipe is not None and self._process is not None:
            self.send({"stop": True})
            await self._end(self._process)
            self._drain()
        self._close_pipe()

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
        fds = *self._fds, theirs.fileno()
        with theirs:
            # -P: the directory that the server was started in is no place to import from.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", self._module, *map(str, fds), *self._words),
                pass_fds=fds,
                stdin=asyncio.subprocess.DEVNULL,
            )
        return self._process

    async def _keep_running(self) -> None:
        while self._process is not None:
            code = await self._process.wait()
            self._drain()
            self._close_pipe()
            self._trouble(f"the {self._name} process ended with {code}; another takes its place")
            await self._spawn_again()

    async def _spawn_again(self) -> None:
        """Start another process, however long it takes until that can be done."""
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                await self._spawn()
            except OSError as error:
                self._close_pipe()
                why = error.strerror
                self._trouble(f"the {self._name} process cannot be started: {why}; tried again")
            else:
                return

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._pipe)
            loop.remove_writer(self._pipe)
            self._pipe.close()
            self._pipe = None
            self._ready.clear()
            self._closed()

    def _on_readable(self) -> None:
        """Read what the process says, some of it: others have their turn."""
        if self._pipe is None:
            return
        try:
            self._read(self._pipe)
        except PipeClosed:
            # Its process has ended, which is waited for elsewhere.
            asyncio.get_running_loop().remove_reader(self._pipe)

    def _drain(self) -> None:
        """Read all that a process said before it ended."""
        with contextlib.suppress(PipeClosed):
            while self._pipe is not None and self._read(self._pipe):
                pass

    def _read(self, pipe: Pipe) -> bool:
        """Read some messages; return whether there may be more. Raises PipeClosed."""
        for _ in range(_MESSAGES):
            received = pipe.receive()
            if received is None:
                return False
            if "ready" in received[0]:
                self._ready.set()
            else:
                self._take(pipe, received[0])
        return True
