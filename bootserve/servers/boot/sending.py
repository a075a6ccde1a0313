"""Files to sockets by sendfile(2), in a process of their own, and never waiting for the disk.

In the server's process the thread that sends and the one that answers scripts would wait for each
other at Python's lock, however little of it sending needs. So a connection's socket and the file
are handed to a process that does nothing else (:mod:`.sending_worker`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from itertools import count
from typing import BinaryIO

from bootserve.servers.boot.pages import SLICE, SLICE_SECONDS, bring_in, in_memory
from bootserve.servers.child import Child
from bootserve.servers.pipe import Message, Pipe

__all__ = ["FIRST", "Sender"]

FIRST = 64 << 10


class Sender:
    """Sends files. ``trouble`` is told what is wrong with the process that does it.

    While none is ready, or it has no room, the server sends by itself, slice by slice.
    """

    def __init__(self, trouble: Callable[[str], None]) -> None:
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._trouble = trouble
        self._child = Child(
            "sending",
            "bootserve.servers.boot.sending_worker",
            take=self._take,
            closed=self._closed,
            trouble=trouble,
        )

    @property
    def pid(self) -> int | None:
        """The id of the process that sends, or that did last; None before the start."""
        return self._child.pid

    async def start(self) -> None:
        """Start the process; raises Unavailable when it does not start."""
        await self._child.start()

    async def stop(self) -> None:
        """End the process; who is being sent to then loses."""
        await self._child.stop()

    async def send(
        self, transport: asyncio.WriteTransport, file: BinaryIO, start: int, stop: int
    ) -> None:
        """Send the bytes ``start`` to ``stop`` of ``file``, which is open by its path.

        Returns when the kernel has them all. Raises ConnectionResetError when the client went away
        or the process ended, and TimeoutError when the client takes less than 8 MiB in two minutes.
        """
        loop = asyncio.get_running_loop()
        if start == stop:
            return
        if transport.get_extra_info("sslcontext") is not None:
            await loop.sendfile(transport, file, start, stop - start)  # reads, and encrypts
            return
        # What is sent behind the transport's back must not overtake what it has still to send: the
        # loop's own sendfile sees to that.
        end = min(start + FIRST, stop)
        await self._by_itself(transport, file, start, end)
        while end < stop:
            sock = transport.get_extra_info("socket")
            if sock is None or transport.is_closing():
                raise ConnectionResetError("the client went away")
            if self._child.ready and await self._handed_over(sock, file, end, stop):
                return
            start, end = end, min(end + SLICE, stop)
            await self._by_itself(transport, file, start, end)

    @staticmethod
    async def _by_itself(
        transport: asyncio.WriteTransport, file: BinaryIO, start: int, end: int
    ) -> None:
        """Send a slice in the event loop; raises as send does."""
        if not in_memory(file.fileno(), start, end):
            await asyncio.to_thread(_bring_in, file.name, start, end)
        async with asyncio.timeout(SLICE_SECONDS):
            loop = asyncio.get_running_loop()
            await loop.sendfile(transport, file, start, end - start)

    async def _handed_over(
        self, sock: socket.socket, file: BinaryIO, start: int, stop: int
    ) -> bool:
        """Have the process send; return whether it took this. Raises as send does."""
        number = next(self._numbers)
        message = {"send": number, "start": start, "stop": stop}
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not self._child.send(message, sock.fileno(), file.fileno()):
            return False
        self._waiting[number] = done
        try:
            return await done
        except asyncio.CancelledError:
            # It has the connection as well: that ends for both.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            self._child.send({"cancel": number})
            raise
        finally:
            self._waiting.pop(number, None)

    def _take(self, _pipe: Pipe, message: Message) -> None:
        if message.get("refused"):
            self._trouble("the sending process has too many files open; the server sends by itself")
        done = self._waiting.pop(message["sent"], None)
        if done is None or done.done():
            return
        if error := _error_in(message):
            done.set_exception(error)
        else:
            done.set_result(not message.get("refused"))

    def _closed(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            if not done.done():
                done.set_exception(ConnectionResetError("the sending process ended"))


def _error_in(message: Message) -> Exception | None:
    """Return what :meth:`Sender.send` raises at this answer of the process, if it does."""
    number = message.get("errno", 0)
    if message.get("slow"):
        return TimeoutError("the client takes too little")
    if message.get("short"):
        return ConnectionResetError("the file became shorter")
    if number in (errno.EPIPE, errno.ECONNRESET):
        return ConnectionResetError("the client went away")
    return OSError(number, os.strerror(number)) if number else None


def _bring_in(path: str, start: int, end: int) -> None:
    # by its path: who gives up closes its own file, maybe before this thread has heard of it
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        bring_in(file.fileno(), start, end)
