"""The journal: what the boot plane saw, on disk before the boot plane answers.

SQL is filled from it, behind it. It is bounded, and it never stalls or fails the one who appends:
what cannot be written is counted, and the count becomes a record as soon as there is room.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bootserve.errors import InvalidInput
from bootserve.model.boot import Boot
from bootserve.store.files import os_errors, sync_directory, write_atomic
from bootserve.store.journal_gap import PendingGap
from bootserve.store.journal_line import encode_line
from bootserve.store.journal_replay import Cursor, replay_segments
from bootserve.store.journal_segment import (
    create_segment,
    find_segments,
    recover_segment,
)
from bootserve.store.records import GapRecord, JournalRecord

__all__ = ["SEGMENT_BYTES", "Journal"]

SEGMENT_BYTES = 16 << 20
"""Size at which a new file is begun; the smallest amount that ``discard`` can give back."""


class Journal:
    """An append-only sequence of records in the files of one directory.

    ``append`` may be called from one thread while ``replay``, ``discard`` and ``sync`` are called
    from another; no other process may open the directory (StateLock sees to that).

    A record whose ``append`` returned a sequence is in the kernel's page cache: it outlives
    SIGKILL of this process. Power loss or a kernel crash may take what was appended since the last
    ``sync``, and only that: opening again cuts a half-written end off.
    """

    def __init__(self, directory: Path, *, max_bytes: int, clock: Callable[[], float]) -> None:
        """Open or create the journal in ``directory``.

        ``max_bytes`` bounds its files together, at least 4,096; ``clock`` returns seconds since
        the epoch. Raises InvalidInput for a smaller bound, and Refused, StorageFull or Unavailable
        when the files cannot be opened.
        """
        if max_bytes < 4096:
            raise InvalidInput("the journal needs at least 4096 bytes")
        self._directory = directory
        self._max = max_bytes
        self._segment_bytes = min(SEGMENT_BYTES, max_bytes // 4)
        self._clock = clock
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._synced = -1
        self._unsynced: list[int] = []  # files that were rotated away since
        self._full = False
        self._cursor = Cursor()
        with os_errors(f"opening the journal in {directory}"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._id = _identity(directory / "id")
            self._pending = PendingGap(directory / "gap")
            self._recover()
        self._found = self._sequence
        self._lost = self._pending.gap.count if self._pending.gap else 0

    def _recover(self) -> None:
        found = find_segments(self._directory)
        self._closed = found[:-1]
        self._closed_bytes = sum(segment.size for segment in self._closed)
        self._torn = 0
        if not found:
            self._active = create_segment(self._directory, 1)
            self._sequence = 0
            return
        recovered = recover_segment(found[-1])
        self._active, self._sequence = recovered.segment, recovered.last
        self._torn = recovered.torn
        if recovered.last_gap is not None and recovered.last_gap == self._pending.gap:
            self._pending.clear()  # the stop came between writing the gap and clearing its count

    @property
    def id(self) -> str:
        """What tells this journal's sequences from those of any other journal."""
        return self._id

    @property
    def max_bytes(self) -> int:
        """The bound of its files together."""
        return self._max

    @property
    def sequence(self) -> int:
        """The sequence of the newest record; 0 when there was never one."""
        return self._sequence

    @property
    def lost(self) -> int:
        """Records that could not be written: since this was opened, and untold ones before."""
        return self._lost

    @property
    def full(self) -> bool:
        """Whether the latest record could not be written."""
        return self._full

    @property
    def torn(self) -> int:
        """Half-written lines cut off when this was opened (0 or 1); none was acknowledged."""
        return self._torn

    @property
    def missing(self) -> int:
        """Acknowledged records that the replays so far found damaged or gone."""
        return self._cursor.missing

    @property
    def size(self) -> int:
        """Bytes in all segments."""
        return self._closed_bytes + self._active.size

    def append(self, record: JournalRecord | Boot) -> int:
        """Write ``record`` and return its sequence, or 0 when it was lost and counted.

        A Boot is written as its BootRecord.

        One write(2) of one line (two when a gap is told first); never raises for want of room or
        a failing disk.
        """
        with self._lock:
            return self._append_or_lose(record)

    def append_all(self, records: Sequence[JournalRecord | Boot]) -> None:
        """Append ``records`` in one write(2), or each alone when that fails.

        Never raises, as :meth:`append`.
        """
        with self._lock:
            self._append_or_lose_each(records)

    def _append_or_lose_each(self, records: Sequence[JournalRecord | Boot]) -> None:
        if records and not self._append(records):
            for record in records:
                self._append_or_lose(record)

    def _append_or_lose(self, record: JournalRecord | Boot) -> int:
        if self._append((record,)):
            return self._sequence
        self._full = True
        self._lost += 1
        self._pending.lose(self._clock())
        return 0

    def _append(self, records: Sequence[JournalRecord | Boot]) -> bool:
        gap = self._pending.gap
        told = records if gap is None else (gap, *records)
        first = self._sequence + 1
        lines = [encode_line(sequence, record) for sequence, record in enumerate(told, first)]
        if not self._write(b"".join(lines)):
            return False
        self._sequence += len(told)
        self._full = False
        if gap is not None:
            self._pending.clear()
        return True

    def _write(self, data: bytes) -> bool:
        active = self._active
        if self._closed_bytes + active.size + len(data) > self._max:
            return False
        if active.torn or (active.size and active.size + len(data) > self._segment_bytes):
            self._rotate()  # where that fails the old file still serves: the bound is max_bytes
        return self._active.write(data)

    def _rotate(self) -> None:
        try:
            segment = create_segment(self._directory, self._sequence + 1)
        except OSError:
            return
        self._closed_bytes += self._active.size
        self._closed.append(self._active.describe())
        self._unsynced.append(self._active.fd)
        self._active = segment

    def sync(self) -> None:
        """Make everything appended so far durable against power loss. Blocks; call it in a thread.

        Appends go on meanwhile. Costs nothing when nothing was appended since the last time, and
        waits for a call of another thread. Raises StorageFull or Unavailable when the disk refuses.
        """
        with self._syncing, os_errors(f"syncing the journal in {self._directory}"):
            with self._lock:
                through, rotated, active = self._sequence, [*self._unsynced], self._active.fd
            if through == self._synced and not rotated:
                return
            for fd in (*rotated, active):
                os.fsync(fd)
            if rotated or self._synced < 0:
                sync_directory(self._directory)
            with self._lock:
                del self._unsynced[: len(rotated)]
            for fd in rotated:
                os.close(fd)
            self._synced = through

    def go_on_after(self, applied: int) -> None:
        """Give out no sequence that was applied before: a power loss may have taken the end.

        ``applied`` is the sequence through which the records are in SQL. Where this was opened
        with fewer, what was appended since is appended again, behind ``applied`` and after a
        GapRecord of the difference: what went with it is not known. Call it before anything is
        applied. Raises Unavailable when a file cannot be read.
        """
        with self._lock:
            gone, now = applied - self._found, self._clock()
            if gone <= 0:
                return
            segments = [*self._closed, self._active.describe()]
            with os_errors(f"reading the journal in {self._directory}"):
                since = list(
                    replay_segments(segments, self._found, self._sequence, self._clock, Cursor())
                )
            self._found = self._sequence = max(self._sequence, applied)
            again = [record for sequence, record in since if sequence <= applied]
            self._append_or_lose_each([GapRecord(gone, now, now), *again])

    def replay(self, after: int = 0) -> Iterator[tuple[int, JournalRecord]]:
        """Yield (sequence, record) for each record after ``after``, up to the newest one now.

        In place of records that are damaged or gone comes one GapRecord with the sequence of the
        last of them, so that whoever stores the records stores the loss too, once. Going on where
        the last replay stopped costs no reading over. Blocks; raises Unavailable when a file
        cannot be read.
        """
        with self._lock:
            segments = [*self._closed, self._active.describe()]
            newest = self._sequence
        with os_errors(f"reading the journal in {self._directory}"):
            yield from replay_segments(segments, after, newest, self._clock, self._cursor)

    def discard(self, through: int) -> None:
        """Delete the files whose records all have sequences up to ``through``.

        Call it once those records are durable elsewhere. With the room that this makes, a loss not
        yet told is told, which adds a record. Raises Refused or Unavailable when a file
        cannot be deleted.
        """
        with self._lock:
            if through >= self._sequence and (
                self._full or self._active.size * 2 > self._segment_bytes
            ):
                self._rotate()
            firsts = [*(segment.first for segment in self._closed), self._active.first]
            done = [
                segment
                for segment, next_first in zip(self._closed, firsts[1:], strict=True)
                if next_first <= through + 1
            ]
            self._closed = self._closed[len(done) :]
            self._closed_bytes -= sum(segment.size for segment in done)
        with os_errors(f"deleting applied files of the journal in {self._directory}"):
            for segment in done:
                segment.path.unlink(missing_ok=True)
        self._tell_gap()

    def _tell_gap(self) -> None:
        """Write down what was lost, if there is room for it now and no record has told it yet."""
        with self._lock:
            gap = self._pending.gap
            if gap is not None and self._write(encode_line(self._sequence + 1, gap)):
                self._sequence += 1
                self._full = False
                self._pending.clear()

    def close(self) -> None:
        """Sync and close; the journal cannot be used afterwards."""
        try:
            self.sync()
        finally:
            for fd in (*self._unsynced, self._active.fd):
                os.close(fd)
            self._pending.close()


def _identity(path: Path) -> str:
    if path.exists():
        text = path.read_text("ascii", errors="replace").strip()
        if len(text) == 32 and text.isalnum():
            return text
    text = uuid.uuid4().hex
    write_atomic(path, text.encode() + b"\n")
    return text
