"""Accepts connections once their first request is there, and reads it in the same step.

Nodes connect, ask one thing and go. With asyncio's own server that takes three turns of the event
loop, a task and a transport, also for a heartbeat whose answer is known at once.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

__all__ = ["Acceptor"]

_DEFER_SECONDS = 1
"""A client that asks for nothing for so long is accepted all the same."""
_AT_ONCE = 64
_READ_BYTES = 64 << 10
_FULL_SECONDS = 1.0
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts on ``sock``, which listens already.

    ``answer`` returns the whole answer to a connection's first bytes, which is sent before the
    connection is closed; None for ``protocol``: that makes the protocol for a connection whose
    first bytes, none of them perhaps, were read. ``full`` is told of an error when there is no room
    for another connection: the next are left in the backlog for a second.
    """

    def __init__(
        self,
        sock: socket.socket,
        answer: Callable[[bytes], bytes | None],
        protocol: Callable[[bytes], asyncio.Protocol],
        full: Callable[[OSError], None],
    ) -> None:
        self._sock = sock
        self._answer = answer
        self._protocol = protocol
        self._full = full
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        # Linux (tcp(7)): the listener is woken by data, not by the handshake
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """Accept no more, and close the listening socket."""
        if self._sock.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._full(error)
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(_FULL_SECONDS, self._go_on)
                return
            self._take(sock)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def _take(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            first = sock.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            self._connect(sock, b"")
            return
        except OSError:  # reset by its client
            sock.close()
            return
        answer = self._answer(first) if first else b""
        if answer is None:
            self._connect(sock, first)
            return
        with sock:
            try:
                sock.send(answer)  # an empty send buffer takes all of it
            except OSError:
                return

    def _connect(self, sock: socket.socket, first: bytes) -> None:
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: self._protocol(first), sock)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
