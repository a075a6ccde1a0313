"""The count of records that could not be journalled, kept where a full disk cannot lose it."""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path

from bootserve.store.files import write_all
from bootserve.store.records import GapRecord

__all__ = ["PendingGap", "read_gap"]

_SIZE = 96


def _encode(gap: GapRecord | None) -> bytes:
    body = b"" if gap is None else f"{gap.count} {gap.first_at!r} {gap.last_at!r}".encode()
    return (b"%08x %b" % (zlib.crc32(body), body)).ljust(_SIZE - 1) + b"\n"


def _decode(data: bytes) -> GapRecord | None:
    crc, _, body = data.rstrip().partition(b" ")
    words = body.split()
    if len(words) != 3 or crc != b"%08x" % zlib.crc32(body):
        return None
    return GapRecord(int(words[0]), float(words[1]), float(words[2]))


def read_gap(path: Path) -> GapRecord | None:
    """Return what the file at ``path`` counts as lost and not yet told; raises OSError."""
    try:
        return _decode(path.read_bytes())
    except FileNotFoundError:
        return None


class PendingGap:
    """Records lost since the last one that was written, in a file of fixed size.

    The file is written in place, so that counting needs no new block on a disk without room, and
    the count survives SIGKILL. Where even that fails the count is right until the process ends.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file; raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._gap = _decode(os.pread(self._fd, _SIZE, 0))
            write_all(self._fd, _encode(self._gap), 0)
        except OSError:
            self.close()
            raise

    @property
    def gap(self) -> GapRecord | None:
        """What is lost and not yet told, or None."""
        return self._gap

    def lose(self, at: float) -> None:
        """Count one more record as lost at ``at`` (seconds since the epoch)."""
        gap = self._gap
        self._set(
            GapRecord(1, at, at) if gap is None else GapRecord(gap.count + 1, gap.first_at, at)
        )

    def clear(self) -> None:
        """Forget the count: it stands in the journal now."""
        self._set(None)

    def _set(self, gap: GapRecord | None) -> None:
        self._gap = gap
        with contextlib.suppress(OSError):
            write_all(self._fd, _encode(gap), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
