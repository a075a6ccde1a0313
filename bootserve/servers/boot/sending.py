"""Files to sockets by sendfile(2), a little at a time, and never waiting for the disk.

The event loop has scripts to answer meanwhile: filling a fast client's socket buffer in one go
takes a millisecond, and a file that is not in the page cache takes as long as the disk does. So
each call sends little while scripts are asked for, and what is not in the page cache is read in a
thread first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import BinaryIO

__all__ = ["GENTLE_BYTES", "MOST_BYTES", "gently", "send_range"]

FIRST = 64 << 10
SLICE = 8 << 20
SLICE_SECONDS = 120.0
"""A client that does not take 8 MiB in two minutes is given up, so that it holds no socket."""

MOST_BYTES = 4 << 20
"""Bytes in one call when nothing else is to be done: few calls, little CPU time."""
GENTLE_BYTES = 128 << 10
"""Bytes in one call, some 50 µs, when others wait for the event loop."""

_PROBE = 512 << 10
"""Distance of the bytes that are looked for in the page cache: a disk reads as much in a moment."""


def gently() -> int:
    """Return the bytes of one call where others always go first."""
    return GENTLE_BYTES


async def send_range(
    transport: asyncio.WriteTransport,
    file: BinaryIO,
    start: int,
    stop: int,
    most: Callable[[], int] = gently,
) -> None:
    """Send the bytes ``start`` to ``stop`` of ``file``, which is open by its path.

    ``most`` says how many bytes the next call may send.

    Returns when the kernel has them all. Raises ConnectionResetError when the client went away,
    and TimeoutError when it takes less than 8 MiB in two minutes.
    """
    loop = asyncio.get_running_loop()
    # What is sent behind the transport's back must not overtake what it has still to send: the
    # loop's own sendfile sees to that.
    first = min(start + FIRST, stop)
    await _have_in_memory(file, start, first)
    async with asyncio.timeout(SLICE_SECONDS):
        await loop.sendfile(transport, file, start, first - start)
    sock = transport.get_extra_info("socket")
    if sock is None or transport.is_closing():
        raise ConnectionResetError("the client went away")
    fd = os.dup(sock.fileno())  # asyncio lets nobody else watch a transport's own
    try:
        begin = first
        while begin < stop:
            await _have_in_memory(file, begin, min(begin + SLICE, stop))
            async with asyncio.timeout(SLICE_SECONDS) as limit:
                begin = await _send(transport, fd, file.fileno(), begin, stop, most, limit)
    finally:
        os.close(fd)


async def _send(
    transport: asyncio.WriteTransport,
    sock: int,
    file: int,
    start: int,
    stop: int,
    most: Callable[[], int],
    limit: asyncio.Timeout,
) -> int:
    """Send from ``start`` on, where a slice is in memory, and return where the disk is needed.

    ``limit`` is moved at each slice.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[int] = loop.create_future()
    end = min(start + SLICE, stop)

    def go_on() -> None:
        nonlocal end
        begin, end = end, min(end + SLICE, stop)
        if begin == stop or not _in_memory(file, begin, end):
            done.set_result(begin)
        limit.reschedule(loop.time() + SLICE_SECONDS)

    def writable() -> None:
        nonlocal start
        if done.done():
            return
        try:
            if transport.is_closing():
                raise ConnectionResetError("the client went away")
            sent = os.sendfile(sock, file, start, min(most(), end - start))
            if sent == 0:
                raise ConnectionResetError("the file became shorter")
        except BlockingIOError:
            return
        except OSError as error:
            done.set_exception(error)
            return
        start += sent
        if start == end:
            go_on()

    loop.add_writer(sock, writable)
    try:
        return await done
    finally:
        loop.remove_writer(sock)


async def _have_in_memory(file: BinaryIO, start: int, end: int) -> None:
    if not _in_memory(file.fileno(), start, end):
        await asyncio.to_thread(_read, file.name, start, end)


def _in_memory(file: int, start: int, end: int) -> bool:
    """Return whether these bytes are in the page cache, as far as some of them show."""
    byte = [bytearray(1)]
    try:
        for offset in (*range(start, end, _PROBE), end - 1):
            os.preadv(file, byte, offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:  # a file system that cannot say
        return True
    return True


def _read(path: str, start: int, end: int) -> None:
    """Read these bytes from the disk, so that they are in the page cache, and begin with more."""
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), start, end + SLICE - start, os.POSIX_FADV_WILLNEED)
        for offset in range(start, end, 1 << 20):
            os.pread(file.fileno(), min(1 << 20, end - offset), offset)
