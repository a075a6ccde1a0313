"""A look at databases: sound, damaged in ways of their own, and not one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bootserve.store.database import Database, sqlite_url
from bootserve.store.database_check import look_at_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a b%.db"  # a name that a URI must escape
    Database.open(sqlite_url(path)).close()
    return path


def test_a_sound_one_is_not_changed(path: Path) -> None:
    before = path.read_bytes()
    state = look_at_database(path)
    assert (state.problems, state.is_known) == ((), True)
    assert state.schema == state.newest
    assert path.read_bytes() == before


def test_rows_that_refer_to_nothing(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE a (b INTEGER REFERENCES revision(number))")
        connection.execute("INSERT INTO a VALUES (77)")
        connection.commit()
    assert look_at_database(path).problems == ("1 rows refer to rows that are not there",)


def test_damage_anywhere_is_said_or_harmless(path: Path) -> None:
    whole = path.read_bytes()
    said = 0
    for at in range(0, len(whole), 3_000):
        damaged = whole[:at] + b"\xfe" * 200 + whole[at + 200 :]
        path.write_bytes(damaged[: len(whole)])
        said += bool(look_at_database(path).problems)
    assert said >= 5


def test_no_database_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert look_at_database(tmp_path / "empty").schema == ""
    (tmp_path / "text").write_text("text" * 1000)
    assert look_at_database(tmp_path / "text").problems == ("file is not a database",)
    assert look_at_database(tmp_path / "none").problems == ("unable to open database file",)
    assert not (tmp_path / "none").exists()
