"""Files to sockets by sendfile(2), in a thread of their own, and never waiting for the disk.

The thread has an event loop for all transfers. So the one that answers scripts sleeps for most of
the time, and the kernel's scheduler lets it go first whenever one is asked for, however much is
sent meanwhile; sendfile(2) runs without Python's lock. What is not in the page cache is read in
further threads first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["FIRST", "Sender"]

FIRST = 64 << 10
SLICE = 8 << 20
SLICE_SECONDS = 120.0
"""A client that does not take 8 MiB in two minutes is given up, so that it holds no socket."""

_MOST = 4 << 20
"""Bytes in one call, so that a fast client does not keep the others waiting."""
_READ = 256 << 10
"""Bytes that are read from the disk in one call, into memory that is not asked for each time."""
_PROBE = 512 << 10
"""Distance of the bytes that are looked for in the page cache: a disk reads as much in a moment."""


class Sender:
    """The thread that sends files. ``with`` starts and ends it; who is being sent to then loses."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Sender:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._loop.call_soon(self._ready.set)
            self._loop.run_forever()

    async def send(
        self, transport: asyncio.WriteTransport, file: BinaryIO, start: int, stop: int
    ) -> None:
        """Send the bytes ``start`` to ``stop`` of ``file``, which is open by its path.

        Returns when the kernel has them all. Raises ConnectionResetError when the client went away,
        and TimeoutError when it takes less than 8 MiB in two minutes.
        """
        loop = asyncio.get_running_loop()
        if transport.get_extra_info("sslcontext") is not None:
            await loop.sendfile(transport, file, start, stop - start)  # reads, and encrypts
            return
        # What is sent behind the transport's back must not overtake what it has still to send: the
        # loop's own sendfile sees to that.
        first = min(start + FIRST, stop)
        await _have_in_memory(file.fileno(), file.name, start, first)
        async with asyncio.timeout(SLICE_SECONDS):
            await loop.sendfile(transport, file, start, first - start)
        sock = transport.get_extra_info("socket")
        if sock is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        if self._loop is None:
            raise RuntimeError("the sender has not been started")
        # Whoever gives up here closes its own files, maybe before the thread has heard of it.
        sending = _Sending(transport, os.dup(sock.fileno()), os.dup(file.fileno()), file.name)
        await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(sending.send(first, stop), self._loop)
        )


class _Sending:
    """One transfer, in the sender's thread; ``sock`` and ``file`` are its own."""

    def __init__(self, transport: asyncio.WriteTransport, sock: int, file: int, name: str) -> None:
        self._transport = transport
        self._sock = sock
        self._file = file
        self._name = name

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            yield
        finally:
            os.close(self._sock)
            os.close(self._file)

    async def send(self, start: int, stop: int) -> None:
        with self._closing():
            while start < stop:
                await _have_in_memory(self._file, self._name, start, min(start + SLICE, stop))
                async with asyncio.timeout(SLICE_SECONDS) as limit:
                    start = await self._send(start, stop, limit)

    async def _send(self, start: int, stop: int, limit: asyncio.Timeout) -> int:
        """Send from ``start`` on, where a slice is in memory; return where the disk is needed.

        ``limit`` is moved at each slice.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()
        end = min(start + SLICE, stop)

        def go_on() -> None:
            nonlocal end
            begin, end = end, min(end + SLICE, stop)
            if begin == stop or not _in_memory(self._file, begin, end):
                done.set_result(begin)
            limit.reschedule(loop.time() + SLICE_SECONDS)

        def writable() -> None:
            nonlocal start
            if done.done():
                return
            try:
                if self._transport.is_closing():
                    raise ConnectionResetError("the client went away")
                sent = os.sendfile(self._sock, self._file, start, min(_MOST, end - start))
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

        loop.add_writer(self._sock, writable)
        try:
            return await done
        finally:
            loop.remove_writer(self._sock)


async def _have_in_memory(file: int, name: str, start: int, end: int) -> None:
    if not _in_memory(file, start, end):
        await asyncio.to_thread(_read, name, start, end)


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
    buffer = [bytearray(_READ)]
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), start, end + SLICE - start, os.POSIX_FADV_WILLNEED)
        for offset in range(start, end, _READ):
            os.preadv(file.fileno(), buffer, offset)
