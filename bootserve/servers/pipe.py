"""What the server and a process of its own tell each other, over a pair of Unix sockets.

One JSON object is one message; open files may come with it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

__all__ = ["Message", "Pipe", "PipeClosed"]

Message = dict[str, Any]
_GREATEST_MESSAGE = 1 << 17
_MOST_FILES = 2


class PipeClosed(Exception):
    """The process at the other end is gone."""


class Pipe:
    """One end. Neither method waits."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Return both ends' sockets, which keep messages apart."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._socket.fileno()

    def send(self, message: Message, *fds: int) -> bool:
        """Send a message, and at most two file descriptors; return False when there is no room."""
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], fds)
        except BlockingIOError:
            return False
        except OSError:
            raise PipeClosed from None
        return True

    def receive(self) -> tuple[Message, Sequence[int]] | None:
        """Return a message and the file descriptors that came with it; None when there is none.

        The descriptors are the caller's to close. Raises PipeClosed.
        """
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, _GREATEST_MESSAGE, _MOST_FILES)
        except BlockingIOError:
            return None
        except OSError:
            raise PipeClosed from None
        if not data:
            raise PipeClosed
        message: Message = json.loads(data)
        return message, fds

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
