"""What the TFTP server tells of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

__all__ = ["Client", "TftpEvent", "TftpEventKind"]

Client: TypeAlias = tuple[str, int]
"""An IPv4 address and a UDP port."""


class TftpEventKind(StrEnum):
    """What happened. ``probed``: the client asked for the file's size and went, as EDK2 does.

    ``trouble`` is the server's own, and of no client.
    """

    STARTED = "started"
    PROBED = "probed"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class TftpEvent:
    """The beginning or the end of a transfer, or trouble.

    ``filename`` is printable ASCII, whatever the client sent. ``bytes_sent`` counts the bytes of
    the file that the client acknowledged; ``seconds`` is the time since the request. ``left_out``
    are the requests that came to nothing and have no event of their own.
    """

    kind: TftpEventKind
    client: Client
    filename: str = ""
    bytes_sent: int = 0
    seconds: float = 0.0
    blksize: int = 0
    windowsize: int = 0
    retransmissions: int = 0
    detail: str = ""
    left_out: int = 0
