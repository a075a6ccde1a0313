from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootserve.model.names import parse_mac
from bootserve.store.database import Database, sqlite_url
from bootserve.store.desired import DesiredStore
from bootserve.store.journal import Journal
from tests.support.disks import small_disk
from tests.support.states import node, state


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(sqlite_url(tmp_path / "bootserve.sqlite"))
    yield opened
    opened.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, which really fills up."""
    with small_disk(tmp_path / "tiny", "1m") as folder:
        yield folder


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Opens the journal of this test, after closing the one that is open."""
    opened: list[Journal] = []

    def open_journal(max_bytes: int = 1 << 20, clock: Callable[[], float] = lambda: 7.0) -> Journal:
        for journal in opened:
            journal.close()
        opened[:] = [Journal(tmp_path / "journal", max_bytes=max_bytes, clock=clock)]
        return opened[0]

    yield open_journal
    for journal in opened:
        journal.close()


@pytest.fixture
def fleet(database: Database) -> Database:
    """The database with nodes a (r1) and b (r2) of role web, and c that moved from r1 to r2.

    A node called gone was in r1.
    """
    a, b = node("a", rack="r1", role="web"), node("b", rack="r2", role="web")
    c, gone = node("c", rack="r1"), node("gone", rack="r1")
    distinct = [
        replace(one, macs=(parse_mac(f"52:54:00:00:00:{last:02x}"),))
        for last, one in enumerate((a, b, c, gone), 1)
    ]
    store = DesiredStore(database)
    for nodes in (distinct, [*distinct[:2], replace(distinct[2], rack="r2")]):
        revision, old = store.load()
        new = state(*nodes, roles="web=web")
        store.commit(revision.number, new, old=old, author="ada", message="", at=1.0)
    return database
