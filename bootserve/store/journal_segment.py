"""One file of the journal, named by the sequence of its first record."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bootserve.store.journal_line import decode_line, decode_record
from bootserve.store.records import GapRecord

__all__ = ["ActiveSegment", "Segment", "create_segment", "find_segments", "recover_segment"]

_NAME = re.compile(r"([0-9]{20})\.journal")


@dataclass(frozen=True, slots=True)
class Segment:
    """A journal file: the sequence of its first record, its path, its size in bytes."""

    first: int
    path: Path
    size: int

    def lines(self, offset: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, line) from ``offset`` on, up to this size; raises OSError.

        What was appended after this description was made is not read.
        """
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if offset + len(line) > self.size:
                    return
                yield offset, line
                offset += len(line)


def find_segments(directory: Path) -> list[Segment]:
    """Return the segments in ``directory``, the oldest first; raises OSError."""
    found = []
    for path in directory.iterdir():
        if match := _NAME.fullmatch(path.name):
            found.append(Segment(int(match[1]), path, path.stat().st_size))
    return sorted(found, key=lambda segment: segment.first)


class ActiveSegment:
    """The segment that is appended to.

    ``torn`` says that a write failed and its part could not be cut off again: the medium refuses
    even that, and another file may fare better.
    """

    def __init__(self, first: int, path: Path, size: int, flags: int = 0) -> None:
        """Open the file at ``path``, whose intact part is ``size`` bytes; raises OSError."""
        self.first = first
        self.path = path
        self.size = size
        self.torn = False
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)

    def describe(self) -> Segment:
        """Return this segment as it is now."""
        return Segment(self.first, self.path, self.size)

    def write(self, data: bytes) -> bool:
        """Append ``data`` in one write(2), wholly or not at all; False when it failed."""
        try:
            if self.torn:
                self._mend()
            written = os.write(self.fd, data)
            self.torn = written != len(data)
        except OSError:
            self.torn = True
        if self.torn:
            with contextlib.suppress(OSError):
                self._mend()
            return False
        self.size += written
        return True

    def _mend(self) -> None:
        os.ftruncate(self.fd, self.size)
        self.torn = False


def create_segment(directory: Path, first: int) -> ActiveSegment:
    """Return a new segment in ``directory`` whose first record will be ``first``.

    Raises OSError.
    """
    return ActiveSegment(first, directory / f"{first:020d}.journal", 0, os.O_CREAT | os.O_EXCL)


@dataclass(frozen=True, slots=True)
class Recovered:
    """A segment opened after a stop.

    ``last`` is its last sequence, ``torn`` the number of lines cut off its end (0 or 1) and
    ``last_gap`` the latest gap that it records.
    """

    segment: ActiveSegment
    last: int
    torn: int
    last_gap: GapRecord | None


def recover_segment(found: Segment) -> Recovered:
    """Open ``found``, the newest segment, to go on in it; raises OSError.

    A last line without its newline was never acknowledged: it is cut off. A damaged line before
    that was acknowledged and keeps its sequence, which is then missing for every reader.
    """
    data = found.path.read_bytes()
    intact = data.rfind(b"\n") + 1
    last, gap = found.first - 1, None
    for line in data[:intact].split(b"\n")[:-1]:
        decoded = decode_line(line + b"\n")
        last = last + 1 if decoded is None else max(last, decoded[0])
        if decoded is not None and b'"kind":"gap"' in decoded[1]:
            record = decode_record(decoded[1])
            gap = record if isinstance(record, GapRecord) else gap
    segment = ActiveSegment(found.first, found.path, intact)
    if intact < len(data):
        os.ftruncate(segment.fd, intact)
    return Recovered(segment, last, int(intact < len(data)), gap)
