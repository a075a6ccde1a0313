"""What the server and its TFTP worker tell each other, over a pair of Unix sockets.

One JSON object is one message. The worker says ``ready``, asks for a file (``find``) and tells what
happened (``events``, and how many of them it had to leave out). The server answers with ``found``:
the number of a content, whose bytes are in the file descriptor that comes along, or the error. It
says ``again`` with the address of a machine that starts anew, and ``stop``.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from bootserve.errors import BootserveError
from bootserve.servers.tftp_engine import TftpEvent, TftpEventKind

__all__ = ["Pipe", "PipeClosed", "RemoteError", "pack_event", "read_content", "unpack_event"]

_GREATEST_MESSAGE = 1 << 17


class PipeClosed(Exception):
    """The process at the other end is gone."""


class RemoteError(BootserveError):
    """An error of the other process, to be told to a client with its TFTP code."""

    def __init__(self, message: str, hint: str, tftp_code: int) -> None:
        super().__init__(message, hint=hint)
        self.tftp_code = tftp_code


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

    def send(self, message: dict[str, Any], fd: int | None = None) -> bool:
        """Send a message, and a file descriptor with it; return False when there is no room."""
        fds = [] if fd is None else [fd]
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], fds)
        except BlockingIOError:
            return False
        except OSError:
            raise PipeClosed from None
        return True

    def receive(self) -> tuple[dict[str, Any], int | None] | None:
        """Return a message and the file descriptor that came with it, or None when there is none.

        The descriptor is the caller's to close. Raises PipeClosed.
        """
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, _GREATEST_MESSAGE, 1)
        except BlockingIOError:
            return None
        except OSError:
            raise PipeClosed from None
        if not data:
            raise PipeClosed
        message: dict[str, Any] = json.loads(data)
        return message, fds[0] if fds else None

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def read_content(fd: int) -> bytes:
    """Return the bytes of the file ``fd``, and close it."""
    try:
        size = os.fstat(fd).st_size
        content = bytearray()
        while len(content) < size and (piece := os.pread(fd, size - len(content), len(content))):
            content += piece
        return bytes(content)
    finally:
        os.close(fd)


def pack_event(event: TftpEvent) -> list[Any]:
    """Return ``event`` as JSON can say it."""
    return [
        event.kind.value,
        *event.client,
        event.filename,
        event.bytes_sent,
        event.seconds,
        event.blksize,
        event.windowsize,
        event.retransmissions,
        event.detail,
    ]


def unpack_event(fields: list[Any]) -> TftpEvent:
    """Return the event that :func:`pack_event` was given."""
    kind, host, port, *rest = fields
    return TftpEvent(TftpEventKind(kind), (host, port), *rest)
