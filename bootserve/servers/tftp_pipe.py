"""What the server and its TFTP worker tell each other, over a :class:`.pipe.Pipe`.

The worker says ``ready``, asks for a file (``find``) and tells what happened (``events``, and how
many of them it had to leave out). The server answers with ``found``: the number of a content, whose
bytes are in the file descriptor that comes along, or the error. It says ``again`` with the address
of a machine that starts anew, and ``stop``.
"""

from __future__ import annotations

import os
from typing import Any

from bootserve.errors import BootserveError
from bootserve.servers.tftp_events import TftpEvent, TftpEventKind

__all__ = ["RemoteError", "pack_event", "read_content", "unpack_event"]


class RemoteError(BootserveError):
    """An error of the other process, to be told to a client with its TFTP code."""

    def __init__(self, message: str, hint: str, tftp_code: int) -> None:
        super().__init__(message, hint=hint)
        self.tftp_code = tftp_code


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
