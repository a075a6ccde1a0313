"""Files to sockets by sendfile(2), in threads.

In a thread, since sendfile waits for the disk where a file is not in the page cache, and since
where it is, filling a socket's buffer takes a millisecond: the event loop has scripts to answer.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from typing import BinaryIO, Self

__all__ = ["send_range"]

FIRST = 64 << 10
SLICE = 8 << 20
SLICE_SECONDS = 120.0
"""A client that does not take 8 MiB in two minutes is given up, so that it holds no socket."""

_CALL = 1 << 20
_PATIENCE_MS = 20
"""How long a thread waits for a client; one that is slower is waited for without a thread."""


async def send_range(
    transport: asyncio.WriteTransport, file: BinaryIO, start: int, stop: int
) -> None:
    """Send the bytes ``start`` to ``stop`` of ``file``, in the threads of the loop's executor.

    Returns when the kernel has them all. Raises ConnectionResetError when the client went away,
    and TimeoutError when it takes less than 8 MiB in two minutes.
    """
    loop = asyncio.get_running_loop()
    # What is sent behind the transport's back must not overtake what it has still to send. The
    # loop's own sendfile sees to that; its bytes are read from the disk before.
    first = min(FIRST, stop - start)
    await asyncio.to_thread(os.pread, file.fileno(), first, start)
    async with asyncio.timeout(SLICE_SECONDS):
        start += await loop.sendfile(transport, file, start, first)
    if start == stop:
        return
    sock = transport.get_extra_info("socket")
    if sock is None or transport.is_closing():
        raise ConnectionResetError("the client went away")
    with _Ends(sock.fileno(), file.fileno()) as ends:
        await _send(transport, ends, start, stop)


async def _send(transport: asyncio.WriteTransport, ends: _Ends, start: int, stop: int) -> None:
    while start < stop:
        end = min(start + SLICE, stop)
        async with asyncio.timeout(SLICE_SECONDS):
            while start < end:
                if transport.is_closing():
                    raise ConnectionResetError("the client went away")
                start = await asyncio.to_thread(_push, ends, start, end)
                if start < end:
                    await _writable(ends.sock)


class _Ends:
    """A socket and a file of one's own, so that a thread never writes to what took their numbers.

    They are closed when the last who entered has left: the coroutine, or a thread that it started.
    """

    def __init__(self, sock: int, file: int) -> None:
        self.sock = os.dup(sock)
        self.file = os.dup(file)
        self._users = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        with self._lock:
            if self._users < 0:
                raise ConnectionResetError("the transfer was given up")
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            self._users = -1
        os.close(self.sock)
        os.close(self.file)


def _push(ends: _Ends, start: int, end: int) -> int:
    """Send from ``start`` until ``end``, or the client is slow; return how far it came."""
    with ends:
        poll = select.poll()
        poll.register(ends.sock, select.POLLOUT)
        while start < end:
            try:
                sent = os.sendfile(ends.sock, ends.file, start, min(_CALL, end - start))
            except BlockingIOError:
                if not poll.poll(_PATIENCE_MS):
                    break
                continue
            if sent == 0:
                raise ConnectionResetError("the file became shorter")
            start += sent
    return start


async def _writable(sock: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock)
