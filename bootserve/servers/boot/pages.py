"""Whether a file's bytes are in the page cache, and how they get there: nobody waits for a disk."""

from __future__ import annotations

import contextlib
import os

__all__ = ["AHEAD", "bring_in", "in_memory"]

AHEAD = 8 << 20
"""Bytes beyond those that were asked for that the disk begins to read."""
_READ = 256 << 10
"""Bytes that are read from the disk in one call, into memory that is not asked for each time."""
_PROBE = 512 << 10
"""Distance of the bytes that are looked for in the page cache: a disk reads as much in a moment."""


def in_memory(file: int, start: int, end: int) -> bool:
    """Return whether these bytes of an open file are in memory, as far as some of them show."""
    byte = [bytearray(1)]
    try:
        for offset in (*range(start, end, _PROBE), end - 1):
            os.preadv(file, byte, offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:  # a file system that cannot say
        return True
    return True


def bring_in(file: int, start: int, end: int) -> None:
    """Read these bytes of an open file from the disk, so that they are in memory; this waits."""
    buffer = [bytearray(_READ)]
    with contextlib.suppress(OSError):
        os.posix_fadvise(file, start, end + AHEAD - start, os.POSIX_FADV_WILLNEED)
        for offset in range(start, end, _READ):
            os.preadv(file, buffer, offset)
