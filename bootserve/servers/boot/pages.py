"""Whether a file's bytes are in the page cache, and how they get there: nobody waits for a disk."""

from __future__ import annotations

import contextlib
import os

__all__ = ["SLICE", "SLICE_SECONDS", "bring_in", "in_memory"]

SLICE = 8 << 20
"""Bytes of a file that are looked for, or read from the disk, before any of them is sent."""
SLICE_SECONDS = 120.0
"""A client that does not take a slice in this time is given up, so that it holds no socket."""
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
    """Read these bytes of an open file from the disk, so that they are in memory; this waits.

    The disk begins to read the slice behind them.
    """
    buffer = [bytearray(_READ)]
    with contextlib.suppress(OSError):
        os.posix_fadvise(file, start, end + SLICE - start, os.POSIX_FADV_WILLNEED)
        for offset in range(start, end, _READ):
            os.preadv(file, buffer, offset)
