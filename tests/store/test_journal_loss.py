from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bootserve.store.journal import Journal
from bootserve.store.records import GapRecord, JournalRecord, PhaseRecord

LINE = 90
"""More bytes than a line of phase(n) has."""


Reopen = Callable[..., Journal]


def phase(n: int) -> PhaseRecord:
    return PhaseRecord(f"b{n:06}", "kernel", float(n))


def segments(journal: Path) -> list[Path]:
    return sorted(journal.glob("*.journal"))


def replayed(journal: Journal, after: int = 0) -> list[tuple[int, JournalRecord]]:
    return list(journal.replay(after))


def test_a_full_journal_counts_what_it_loses_and_tells_it_when_there_is_room(
    reopen: Reopen,
) -> None:
    now = 100.0
    journal = reopen(max_bytes=4096, clock=lambda: now)
    kept = 0
    while journal.append(phase(kept + 1)):
        kept += 1
    assert 4096 - LINE < journal.size <= 4096
    now = 105.0
    assert [journal.append(phase(n)) for n in range(4)] == [0, 0, 0, 0]
    assert (journal.lost, journal.full, journal.sequence) == (5, True, kept)
    journal.discard(kept)
    assert journal.append(phase(9)) == kept + 2
    assert (journal.lost, journal.full) == (5, False)
    assert journal.append(phase(10)) == kept + 3  # the gap is told once
    assert replayed(journal, kept) == [
        (kept + 1, GapRecord(5, 100.0, 105.0)),
        (kept + 2, phase(9)),
        (kept + 3, phase(10)),
    ]


def test_what_was_lost_is_known_after_a_stop(tmp_path: Path, reopen: Reopen) -> None:
    journal = reopen(max_bytes=4096)
    kept = 0
    while journal.append(phase(kept + 1)):
        kept += 1
    journal = reopen(max_bytes=1 << 20)
    assert journal.lost == 1
    assert journal.append(phase(3)) == kept + 2
    assert replayed(journal, kept)[0] == (kept + 1, GapRecord(1, 7.0, 7.0))
    assert reopen().lost == 0


def test_a_stop_between_telling_a_gap_and_clearing_its_count(
    tmp_path: Path, reopen: Reopen
) -> None:
    journal = reopen(max_bytes=4096)
    while journal.append(phase(1)):
        pass
    count = (tmp_path / "journal" / "gap").read_bytes()
    journal = reopen(max_bytes=1 << 20)
    journal.append(phase(2))
    last = journal.sequence
    (tmp_path / "journal" / "gap").write_bytes(count)
    journal = reopen(max_bytes=1 << 20)
    assert journal.lost == 0
    assert journal.append(phase(3)) == last + 1


def test_a_disk_without_room_never_raises_and_tells_the_gap(tiny_disk: Path) -> None:
    journal = Journal(tiny_disk / "journal", max_bytes=64 << 20, clock=lambda: 7.0)
    filler = tiny_disk / "filler"
    filler.write_bytes(bytes(900 << 10))
    kept = 0
    while journal.append(phase(kept + 1)):
        kept += 1
    assert 100 < kept < 3000
    assert journal.append(phase(0)) == 0
    assert (journal.lost, journal.full) == (2, True)
    (file,) = segments(tiny_disk / "journal")
    assert file.stat().st_size == journal.size  # nothing is left of the write that failed
    assert [record for _, record in journal.replay(0)] == [phase(n + 1) for n in range(kept)]
    filler.unlink()
    assert journal.append(phase(5)) == kept + 2
    journal.close()
    journal = Journal(tiny_disk / "journal", max_bytes=64 << 20, clock=lambda: 7.0)
    assert replayed(journal, kept) == [(kept + 1, GapRecord(2, 7.0, 7.0)), (kept + 2, phase(5))]
    journal.close()


def test_loss_on_a_full_disk_survives_a_stop(tiny_disk: Path) -> None:
    journal = Journal(tiny_disk / "journal", max_bytes=64 << 20, clock=lambda: 7.0)
    (tiny_disk / "filler").write_bytes(bytes(1000 << 10))
    while journal.append(phase(1)):
        pass
    for n in range(9):
        journal.append(phase(n))
    journal.close()
    journal = Journal(tiny_disk / "journal", max_bytes=64 << 20, clock=lambda: 7.0)
    assert journal.lost == 10
    journal.close()


LIMITED = """
import pathlib, resource, signal, sys, time
from bootserve.store.journal import Journal
from bootserve.store.records import PhaseRecord
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
journal = Journal(pathlib.Path(sys.argv[1]), max_bytes=1 << 26, clock=time.time)
while journal.append(PhaseRecord("b1", "kernel", 1.0)):
    pass
print(journal.sequence, journal.size)
"""


def test_any_error_of_the_file_system_is_a_loss(tmp_path: Path) -> None:
    said = subprocess.check_output([sys.executable, "-c", LIMITED, tmp_path / "journal"], text=True)
    assert re.fullmatch(r"\d+ \d+\n", said), os.strerror(errno.EFBIG)
    kept, size = map(int, said.split())
    (file,) = segments(tmp_path / "journal")
    assert file.stat().st_size == size <= 2000
    journal = Journal(tmp_path / "journal", max_bytes=1 << 26, clock=time.time)
    assert (journal.torn, journal.sequence, journal.lost) == (0, kept, 1)
    journal.close()


def writes() -> int:
    """Return how many write system calls this process has made."""
    found = re.search(r"syscw: (\d+)", Path("/proc/self/io").read_text())
    assert found
    return int(found[1])


def test_many_records_are_one_write(reopen: Reopen) -> None:
    journal = reopen()
    before = writes()
    journal.append_all([phase(n) for n in range(1, 101)])
    assert writes() == before + 1
    journal.append_all([])
    assert journal.sequence == 100
    assert replayed(journal) == [(n, phase(n)) for n in range(1, 101)]


def test_of_many_records_those_that_fit_are_kept_and_the_rest_counted(reopen: Reopen) -> None:
    journal = reopen(max_bytes=4096, clock=lambda: 9.0)
    journal.append_all([phase(n) for n in range(1, 201)])
    kept = journal.sequence
    assert 40 < kept < 100
    assert (journal.lost, journal.full) == (200 - kept, True)
    assert replayed(journal) == [(n, phase(n)) for n in range(1, kept + 1)]
    journal.discard(kept)
    journal.append_all([phase(1), phase(2)])
    expected = [GapRecord(200 - kept, 9.0, 9.0), phase(1), phase(2)]
    assert replayed(journal, kept) == list(enumerate(expected, kept + 1))
