from __future__ import annotations

import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from bootserve.errors import InvalidInput, Unavailable
from bootserve.store.journal import Journal
from bootserve.store.records import GapRecord, JournalRecord, PhaseRecord

LINE = 90
"""More bytes than a line of phase(n) has."""


def phase(n: int) -> PhaseRecord:
    return PhaseRecord(f"b{n:06}", "kernel", float(n))


Reopen = Callable[..., Journal]


def segments(journal: Path) -> list[Path]:
    return sorted(journal.glob("*.journal"))


def replayed(journal: Journal, after: int = 0) -> list[tuple[int, JournalRecord]]:
    return list(journal.replay(after))


def test_what_was_appended_is_replayed_after_any_sequence(reopen: Reopen) -> None:
    journal = reopen()
    expected = [(journal.append(phase(n)), phase(n)) for n in range(1, 21)]
    assert [sequence for sequence, _ in expected] == list(range(1, 21))
    for after in range(21):
        assert replayed(journal, after) == expected[after:]
    for after in reversed(range(21)):
        assert replayed(journal, after) == expected[after:]


def test_batches_of_a_replay_go_on_where_the_last_stopped(reopen: Reopen) -> None:
    journal = reopen(max_bytes=4096)
    for n in range(1, 31):
        journal.append(phase(n))
    seen: list[int] = []
    while batch := [sequence for sequence, _ in islice(journal.replay(len(seen)), 7)]:
        seen += batch
    assert seen == list(range(1, 31))
    journal.append(phase(31))
    assert replayed(journal, 30) == [(31, phase(31))]


def test_it_goes_on_after_it_was_closed(reopen: Reopen) -> None:
    journal = reopen()
    identity = journal.id
    journal.append(phase(1))
    journal = reopen()
    assert (journal.id, journal.sequence, journal.torn) == (identity, 1, 0)
    assert journal.append(phase(2)) == 2
    assert replayed(journal) == [(1, phase(1)), (2, phase(2))]


def test_another_journal_has_another_id(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        journal = Journal(tmp_path / name, max_bytes=4096, clock=time.time)
        ids.add(journal.id)
        journal.close()
    assert len(ids) == 2


def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(tmp_path: Path, reopen: Reopen) -> None:
    journal = reopen()
    for n in (1, 2):
        journal.append(phase(n))
    (file,) = segments(tmp_path / "journal")
    whole = file.stat().st_size
    journal.append(phase(3))
    data = file.read_bytes()
    for length in range(whole, len(data)):
        file.write_bytes(data[:length])
        journal = reopen()
        assert journal.torn == (length > whole)
        assert file.stat().st_size == whole
        assert journal.append(phase(4)) == 3
        assert replayed(journal) == [(1, phase(1)), (2, phase(2)), (3, phase(4))]


def test_a_damaged_line_is_told_as_a_gap_once_and_in_its_place(
    tmp_path: Path, reopen: Reopen
) -> None:
    journal = reopen()
    for n in range(1, 7):
        journal.append(phase(n))
    (file,) = segments(tmp_path / "journal")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"kernel", b"kennel")
    lines[3] = b"\n"
    file.write_bytes(b"".join(lines))
    journal = reopen()
    expected = [
        (1, phase(1)),
        (2, phase(2)),
        (4, GapRecord(2, 2.0, 5.0)),
        (5, phase(5)),
        (6, phase(6)),
    ]
    assert replayed(journal) == expected
    assert replayed(journal, 2) == [(4, GapRecord(2, 5.0, 5.0)), *expected[3:]]
    assert replayed(journal, 4) == expected[3:]
    assert journal.missing == 2


def test_a_damaged_last_line_keeps_its_sequence(tmp_path: Path, reopen: Reopen) -> None:
    journal = reopen()
    for n in (1, 2):
        journal.append(phase(n))
    (file,) = segments(tmp_path / "journal")
    file.write_bytes(file.read_bytes().replace(b"b000002", b"b000003"))
    journal = reopen()
    assert replayed(journal) == [(1, phase(1)), (2, GapRecord(1, 1.0, 7.0))]
    assert journal.append(phase(3)) == 3
    assert replayed(journal, 2) == [(3, phase(3))]


def test_a_line_of_a_kind_unknown_here_is_a_gap(tmp_path: Path, reopen: Reopen) -> None:
    journal = reopen()
    journal.append(phase(1))
    (file,) = segments(tmp_path / "journal")
    body = b'2 {"kind":"later","at":1}'
    with file.open("ab") as out:
        out.write(b"%08x %b\n" % (zlib.crc32(body), body))
    journal = reopen()
    assert replayed(journal) == [(1, phase(1)), (2, GapRecord(1, 1.0, 7.0))]


def test_segments_rotate_and_are_dropped_once_applied(tmp_path: Path, reopen: Reopen) -> None:
    journal = reopen(max_bytes=8192)
    expected = [(journal.append(phase(n)), phase(n)) for n in range(1, 61)]
    for after in range(60):
        assert replayed(journal, after) == expected[after:]
    files = segments(tmp_path / "journal")
    assert len(files) > 2
    assert journal.size == sum(file.stat().st_size for file in files)
    second = int(files[1].stem)
    journal.discard(second - 2)
    assert segments(tmp_path / "journal") == files
    journal.discard(second - 1)
    assert segments(tmp_path / "journal") == files[1:]
    assert replayed(journal, second - 1)[0] == (second, phase(second))
    journal.sync()
    journal = reopen(max_bytes=8192)
    assert journal.sequence == 60
    assert replayed(journal, 59) == [(60, phase(60))]


def test_the_file_that_is_appended_to_stays(reopen: Reopen) -> None:
    journal = reopen()
    journal.discard(0)
    for n in (1, 2):
        journal.append(phase(n))
        journal.discard(n)
    assert replayed(journal) == [(1, phase(1)), (2, phase(2))]


def test_records_dropped_before_they_were_asked_for_are_a_gap(reopen: Reopen) -> None:
    journal = reopen(max_bytes=8192)
    for n in range(1, 61):
        journal.append(phase(n))
    journal.discard(60)
    (first, gap), *_ = replayed(journal, 10)
    assert isinstance(gap, GapRecord)
    assert gap.count == first - 10


def test_sequences_go_on_when_everything_was_dropped(reopen: Reopen) -> None:
    journal = reopen(max_bytes=4096)
    n = 0
    while journal.append(phase(n)):
        n += 1
    journal.discard(n)
    assert not journal.full
    [(sequence, gap)] = journal.replay(n)  # what was lost is told as soon as there is room
    assert (sequence, type(gap)) == (n + 1, GapRecord)
    journal.discard(n + 1)
    journal = reopen(max_bytes=4096)
    assert journal.sequence == n + 1
    assert journal.append(phase(1)) == n + 2


APPENDER = """
import os, pathlib, sys, time
from bootserve.store.journal import Journal
from bootserve.store.records import PhaseRecord
journal = Journal(pathlib.Path(sys.argv[1]), max_bytes=1 << 26, clock=time.time)
n = 0
while True:
    n += 1
    os.write(1, b"%d\\n" % journal.append(PhaseRecord(f"b{n:06}", "kernel", float(n))))
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    with subprocess.Popen(
        [sys.executable, "-c", APPENDER, directory], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        for _ in range(3000):
            child.stdout.readline()
        child.kill()
        rest = child.stdout.read().splitlines(keepends=True)
    acknowledged = 3000 + sum(line.endswith(b"\n") for line in rest)
    journal = Journal(directory, max_bytes=1 << 26, clock=time.time)
    found = replayed(journal)
    assert len(found) >= acknowledged
    assert found == [(n, phase(n)) for n in range(1, len(found) + 1)]
    journal.close()


def test_sync_and_replay_run_beside_appends(reopen: Reopen) -> None:
    journal = reopen(max_bytes=1 << 18)
    done = threading.Event()

    def work() -> None:
        applied = 0
        while not done.is_set() or applied < journal.sequence:
            for sequence, record in journal.replay(applied):
                assert (sequence, record) == (applied + 1, phase(applied + 1))
                applied = sequence
            journal.sync()
            journal.discard(applied)

    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    written = 0
    deadline = time.monotonic() + 20
    while written < 20_000 and time.monotonic() < deadline and not failed:
        if journal.size > 1 << 17:
            time.sleep(0.001)  # the bound is for a database that is away; here it keeps up
            continue
        written += 1
        assert journal.append(phase(written)) == written
    done.set()
    thread.join()
    assert not failed
    assert written == 20_000


def test_appending_is_quick_enough_to_lie_in_every_boot(reopen: Reopen) -> None:
    journal = reopen(max_bytes=1 << 26)
    started = time.process_time()
    for n in range(20_000):
        journal.append(phase(n))
    assert 20_000 / (time.process_time() - started) > 30_000


def test_a_bound_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="4096"):
        Journal(tmp_path, max_bytes=100, clock=time.time)


def test_a_path_that_cannot_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="opening the journal"):
        Journal(tmp_path / "file", max_bytes=4096, clock=time.time)


def test_only_this_user_reads_it(tmp_path: Path, reopen: Reopen) -> None:
    reopen().append(phase(1))
    for path in (tmp_path / "journal", *(tmp_path / "journal").iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path
