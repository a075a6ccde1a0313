"""Reading a journal's segments in order, with what is missing told as gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bootserve.store.journal_line import decode_line, decode_record
from bootserve.store.journal_segment import Segment
from bootserve.store.records import GapRecord, JournalRecord, seen_at

__all__ = ["Cursor", "replay_segments"]


@dataclass(slots=True)
class Cursor:
    """Where the last replay stopped: after which sequence, in which segment, at which offset.

    ``missing`` counts the records up to sequence ``counted`` that replays found damaged or gone.
    """

    sequence: int = 0
    first: int = 0
    offset: int = 0
    missing: int = 0
    counted: int = 0


def _intact_lines(
    segments: Sequence[Segment], after: int, cursor: Cursor
) -> Iterator[tuple[int, bytes, Cursor]]:
    """Yield (sequence, JSON, place behind it) of each intact line after ``after``."""
    for i, segment in enumerate(segments):
        if i + 1 < len(segments) and segments[i + 1].first <= after + 1:
            continue
        known = cursor.first == segment.first and cursor.sequence <= after
        for offset, line in segment.lines(cursor.offset if known else 0):
            decoded = decode_line(line)
            if decoded is not None and decoded[0] > after:
                place = Cursor(decoded[0], segment.first, offset + len(line))
                yield decoded[0], decoded[1], place


def replay_segments(
    segments: Sequence[Segment],
    after: int,
    newest: int,
    clock: Callable[[], float],
    cursor: Cursor,
) -> Iterator[tuple[int, JournalRecord]]:
    """Yield (sequence, record) after ``after`` up to ``newest``; raises OSError.

    A jump in the sequences, and a line that this version cannot read, comes as a GapRecord with
    the sequence of the last record it stands for, its times those of the neighbours. ``cursor``
    is moved along.
    """
    sequence, at = after, 0.0

    def gap(through: int, until: float) -> tuple[int, GapRecord]:
        nonlocal sequence
        count, sequence = through - sequence, through
        cursor.missing += max(0, through - max(through - count, cursor.counted))
        cursor.counted = max(cursor.counted, through)
        return through, GapRecord(count, at or until, until)

    for number, payload, place in _intact_lines(segments, after, cursor):
        record = decode_record(payload)
        if number <= sequence or record is None:
            continue
        if number > sequence + 1:
            yield gap(number - 1, seen_at(record))
        cursor.sequence, cursor.first, cursor.offset = number, place.first, place.offset
        sequence, at = number, seen_at(record)
        yield number, record
    if sequence < newest:
        yield gap(newest, clock())
