"""One-shot actions on disk and in SQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bootserve.model.once import BootOnce, OnceAction, OnceOutcome
from bootserve.store.boots import BootStore
from bootserve.store.database import Database
from bootserve.store.once import OnceHistory, OnceStore
from bootserve.store.once_files import OnceFiles
from bootserve.store.records import OnceRecord

ONCE = BootOnce("a" * 32, "n1", OnceAction.SCRIPT, "", "#!ipxe\necho ö\n", "root", 1234.5678)
SET = OnceRecord(ONCE.id, "n1", ONCE.set_at, "pending", "script", "", ONCE.script, "root")


@pytest.fixture
def files(tmp_path: Path) -> OnceFiles:
    return OnceFiles(tmp_path / "once")


def test_what_waits_is_found_again_and_what_was_taken_waits_no_more(
    files: OnceFiles, tmp_path: Path
) -> None:
    other = replace(ONCE, id="b" * 32, set_at=1.0)
    files.put(ONCE)
    files.put(other)
    again = OnceFiles(tmp_path / "once")
    assert again.pending() == [other, ONCE]
    again.take(ONCE)
    assert (again.pending(), again.taken()) == ([other], [ONCE])
    again.drop(ONCE)
    again.drop(other)
    assert (again.pending(), again.taken()) == ([], [])


@pytest.mark.parametrize("text", [b"", b"{}", b'{"action": "dance"}', b"\xff"])
def test_a_damaged_file_is_told_by_its_name(files: OnceFiles, tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "once" / f"{'c' * 32}.json"
    path.write_bytes(text)
    files.put(ONCE)
    assert files.pending() == [ONCE]
    [error] = files.damaged
    assert path.name in str(error)


def test_what_became_of_an_action_is_kept_once(database: Database) -> None:
    boots, store = BootStore(database, "j1"), OnceStore(database)
    ended = OnceRecord(ONCE.id, "n1", 1300.0, "consumed", mac="m", address="10.0.0.9", boot="b1")
    late = OnceRecord(ONCE.id, "n1", 1400.0, "cancelled", by="eve")
    boots.apply([(1, SET)], 1)
    assert store.history("n1") == [OnceHistory(ONCE, OnceOutcome.PENDING)]
    boots.apply([(2, ended), (3, SET), (4, late)], 4)
    consumed = OnceHistory(ONCE, OnceOutcome.CONSUMED, 1300.0, "", "m", "10.0.0.9", "b1")
    assert store.history("n1") == [consumed]
    assert store.history("n2") == []
