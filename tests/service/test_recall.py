"""What a server that starts is told of the boots before it: quickly, and each once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from bootserve.model.boot import Phase
from bootserve.model.generation import GenerationRef
from bootserve.service.recall import recent_boots, untouched
from bootserve.store.boots import BootStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.records import (
    BootRecord,
    DiscoveredRecord,
    JournalRecord,
    ReportRecord,
    TokenRecord,
)
from tests.support.states import generation

WEB = generation("web@1")
BOOTS = 1000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(sqlite_url(tmp_path / "db"))
    yield opened
    opened.close()


def boot(number: int, mac: str) -> BootRecord:
    return BootRecord(f"b{number}", "n1", mac, "web@1", "d" * 64, 1, float(number), "10.0.0.5")


def filled(database: Database) -> BootStore:
    """Return a store with a boot each second; every second one has a token, every fourth is up."""
    store = BootStore(database, "j")
    records: list[JournalRecord] = [DiscoveredRecord("m", 1.0, "x64", "", "")]
    for n in range(BOOTS):
        records.append(boot(n, f"m{n % 50}"))
        if n % 2 == 0:
            records.append(TokenRecord(f"b{n}", f"{n:064x}", n + 0.1))
        if n % 4 == 0:
            records.append(ReportRecord(f"b{n}", "up", n + 0.5, "web@1", "f" * 64, 1.0, ""))
    store.apply(list(enumerate(records, 1)), len(records))
    return store


def test_a_thousand_boots_are_recalled_by_a_few_statements(database: Database) -> None:
    store = filled(database)
    said: list[str] = []
    event.listen(database.connect(), "before_cursor_execute", lambda *given: said.append(given[2]))
    found = recent_boots(store, {GenerationRef("web", 1): WEB}, 9.5)
    assert len([one for one in said if one.startswith("SELECT")]) <= 5
    assert [one.boot.id for one in found] == [f"b{n}" for n in range(10, BOOTS)]
    assert [one.token_hash for one in found[:3]] == [f"{10:064x}", "", f"{12:064x}"]
    assert [Phase.UP in one.phases for one in found[:3]] == [False, False, True]
    assert recent_boots(store, {}, 9.5) == []


def test_what_the_status_says_is_counted_in_the_database(database: Database) -> None:
    store = filled(database)
    assert store.count_since(499.5) == (500, 125)
    assert store.count_since(1e9) == (0, 0)
    assert store.count_discovered() == 1


def test_boots_of_a_machine_that_was_given_one_since_are_left_out(database: Database) -> None:
    store = filled(database)
    found = recent_boots(store, {GenerationRef("web", 1): WEB}, -1.0)
    left = untouched(found, 960.0)
    assert {one.boot.mac for one in left} == {f"m{n}" for n in range(10)}
    assert [one.boot.id for one in left[:11]] == [f"b{n}" for n in (*range(10), 50)]
