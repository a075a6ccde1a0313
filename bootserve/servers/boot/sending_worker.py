"""The process that sends files: ``python -m bootserve.servers.boot.sending_worker PIPE``.

It is given sockets and files, opens neither, and holds no rights. One thread sends whatever is in
memory to whoever has room for it; what is not is read by others first.

The server says ``send`` with a number and the bytes' ``start`` and ``stop``, together with the
connection's socket and the file; ``cancel`` with the number; and ``stop``. This process answers
each ``send`` with ``sent`` and the number; and the ``errno`` of what went wrong, or that the file
was too ``short``, the client too ``slow``, or that it was ``refused`` before anything was sent.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import queue
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from bootserve.servers.boot.pages import SLICE, SLICE_SECONDS, bring_in, in_memory
from bootserve.servers.confine import confine
from bootserve.servers.pipe import Message, Pipe, PipeClosed
from bootserve.servers.turns import Turns

__all__ = ["Worker", "main"]

_MOST = 2 << 20
"""Bytes in one call, so that a fast client does not keep the others waiting, nor the kernel an
event loop that is to run."""
_ROOM = select.EPOLLOUT | select.EPOLLRDHUP
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_READERS = 8
_LOOK = 1.0
"""Seconds between two looks at who is too slow."""
_UNSENT_LOOK = 0.05


@dataclass(slots=True)
class _Transfer:
    """Bytes on their way: from ``at`` to ``stop``, of which those before ``end`` are in memory."""

    number: int
    sock: int
    file: int
    at: int
    stop: int
    end: int
    deadline: float
    reading: bool = False
    over: bool = False

    def close(self) -> None:
        os.close(self.sock)
        os.close(self.file)


class Worker:
    """Sends what it is told to over ``pipe``, until told to stop or the server is gone."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._transfers: dict[int, _Transfer] = {}
        self._by_socket: dict[int, _Transfer] = {}
        self._to_read: queue.SimpleQueue[_Transfer] = queue.SimpleQueue()
        self._were_read: deque[_Transfer] = deque()
        self._readers = 0
        self._unsent: deque[Message] = deque()
        self._turns = Turns()
        self._stopping = False
        self._poll.register(pipe, select.EPOLLIN)
        self._poll.register(self._wake, select.EPOLLIN)

    def run(self) -> None:
        """Send until the end."""
        with contextlib.suppress(PipeClosed):
            self._pipe.send({"ready": True})
            look_at = 0.0
            while not self._stopping:
                for fd, events in self._poll.poll(self._patience()):
                    self._turn(fd, events)
                    self._turns.give_way(time.monotonic())
                now = time.monotonic()
                if now >= look_at:
                    look_at = now + _LOOK
                    self._give_up_the_slow(now)
                self._tell()

    def _patience(self) -> float | None:
        if self._unsent:
            return _UNSENT_LOOK
        return _LOOK if self._transfers else None

    def _turn(self, fd: int, events: int) -> None:
        if fd == self._pipe.fileno():
            self._listen()
        elif fd == self._wake:
            os.eventfd_read(self._wake)
            while self._were_read:
                self._was_read(self._were_read.popleft())
        else:
            transfer = self._by_socket.get(fd)
            if transfer is None or transfer.reading:  # what was said of another, in this very turn
                return
            if events & _GONE:  # also when it will say no more: the server has closed it then
                self._end(transfer, {"errno": errno.ECONNRESET})
            else:
                self._write(transfer)

    def _listen(self) -> None:
        while (received := self._pipe.receive()) is not None:
            message, fds = received
            if "send" in message:
                self._begin(message, fds)
            elif "cancel" in message:
                if transfer := self._transfers.get(message["cancel"]):
                    self._end(transfer)
            else:
                self._stopping = True
                return

    def _begin(self, message: Message, fds: Sequence[int]) -> None:
        number = message["send"]
        if len(fds) < 2:  # this process has too many open
            for fd in fds:
                os.close(fd)
            self._unsent.append({"sent": number, "refused": True})
            return
        start = message["start"]
        transfer = _Transfer(number, fds[0], fds[1], start, message["stop"], start, 0.0)
        self._transfers[number] = self._by_socket[transfer.sock] = transfer
        self._next_slice(transfer, is_new=True)

    def _next_slice(self, transfer: _Transfer, *, is_new: bool = False) -> None:
        """Go on behind what is sent: at once with what is in memory, else when it was read."""
        transfer.end = min(transfer.at + SLICE, transfer.stop)
        transfer.deadline = time.monotonic() + SLICE_SECONDS
        if in_memory(transfer.file, transfer.at, transfer.end):
            if is_new:
                self._poll.register(transfer.sock, _ROOM)
            return
        if not is_new:
            self._poll.unregister(transfer.sock)
        transfer.reading = True
        if self._readers < _READERS:
            self._readers += 1
            threading.Thread(target=self._read, daemon=True).start()
        self._to_read.put(transfer)

    def _read(self) -> None:
        """Read from the disk, in a thread."""
        while True:
            transfer = self._to_read.get()
            bring_in(transfer.file, transfer.at, transfer.end)
            self._were_read.append(transfer)
            os.eventfd_write(self._wake, 1)

    def _was_read(self, transfer: _Transfer) -> None:
        transfer.reading = False
        if transfer.over:
            transfer.close()
            return
        transfer.deadline = time.monotonic() + SLICE_SECONDS
        self._poll.register(transfer.sock, _ROOM)

    def _write(self, transfer: _Transfer) -> None:
        most = min(_MOST, transfer.end - transfer.at)
        try:
            sent = os.sendfile(transfer.sock, transfer.file, transfer.at, most)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(transfer, {"errno": error.errno or errno.EIO})
            return
        if sent == 0:
            self._end(transfer, {"short": True})
            return
        transfer.at += sent
        if transfer.at == transfer.stop:
            self._end(transfer, {})
        elif transfer.at == transfer.end:
            self._next_slice(transfer)

    def _give_up_the_slow(self, now: float) -> None:
        for transfer in [one for one in self._transfers.values() if now >= one.deadline]:
            if not transfer.reading:
                self._end(transfer, {"slow": True})

    def _end(self, transfer: _Transfer, said: Message | None = None) -> None:
        """Let go of a transfer, and answer unless it was cancelled."""
        del self._transfers[transfer.number]
        del self._by_socket[transfer.sock]
        if said is not None:
            self._unsent.append({"sent": transfer.number, **said})
        if transfer.reading:
            transfer.over = True  # its thread has the file still
            return
        self._poll.unregister(transfer.sock)
        transfer.close()

    def _tell(self) -> None:
        while self._unsent and self._pipe.send(self._unsent[0]):
            self._unsent.popleft()


def main() -> None:
    """Serve the pipe that was inherited as a file descriptor."""
    pipe = Pipe(socket.socket(fileno=int(sys.argv[1])))
    confine()
    gc.freeze()
    Worker(pipe).run()


if __name__ == "__main__":
    main()
