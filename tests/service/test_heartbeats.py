"""Nodes that fall silent: together, which does not stop the event loop, and only apparently."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from bootserve.core.diffs import DiffBook
from bootserve.core.discovery import DiscoveryFilter
from bootserve.core.drift import Watch
from bootserve.core.exchanges import Exchanges
from bootserve.core.heartbeats import HeartbeatBook, Running
from bootserve.core.timeline import Timeline
from bootserve.model.drift import DriftChange
from bootserve.model.generation import GenerationRef
from bootserve.servers.boot.recorder import Recorder
from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.service.calm import LINES, Calm
from bootserve.service.files import load_scripts
from bootserve.service.heartbeats import SLICE, HeartbeatKeeper
from bootserve.store.database import Database, sqlite_url
from bootserve.store.drift import DriftStore
from bootserve.store.journal import Journal
from tests.support.states import snapshot, state

NODES = 1050


def running(number: int) -> Running:
    return Running(
        node=f"n{number}",
        boot=f"{number:032x}",
        generation=GenerationRef("web", 1),
        digest="d",
        expected_root="r",
        token_hash="t",
        up_since=1.0,
        last_seen=1000.0,
        agent=True,
    )


async def test_nodes_that_fall_silent_together_leave_others_their_turn(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", max_bytes=1 << 24, clock=time.time)
    capture = structlog.testing.LogCapture()
    log = structlog.wrap_logger(None, processors=[capture])
    recorder = Recorder(
        journal, Timeline(Exchanges()), DiscoveryFilter(10), log, Calm(log), lambda: None
    )
    turns, slices = [0], []

    def spoken(changes: Sequence[DriftChange]) -> None:
        slices.append((turns[0], len(changes)))
        recorder.spoken(changes)

    async def others() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    book, sql = HeartbeatBook(), DatabaseThread()
    database = Database(sqlite_url(tmp_path / "db.sqlite"))
    current = Current(snapshot(state()), load_scripts(None))
    store = DriftStore(database)
    keeper = HeartbeatKeeper(book, DiffBook(), store, sql, current, spoken, log, missed=3)
    for number in range(NODES):
        book.put(running(number))
    other = asyncio.create_task(others())
    await keeper.sweep(2000.0, Watch(0.0))
    other.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await other
    assert [size for _, size in slices] == [SLICE] * (NODES // SLICE) + [NODES % SLICE]
    assert len({turn for turn, _ in slices}) == len(slices)
    assert all(one.silent for one in book)
    assert len(capture.entries) == LINES
    assert len(list(journal.replay())) == NODES
    sql.close()
    database.close()
    journal.close()


async def test_a_clock_that_is_set_makes_nobody_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, sql, changes = HeartbeatBook(), DatabaseThread(), list[DriftChange]()
    database = Database(sqlite_url(tmp_path / "db.sqlite"))
    current = Current(snapshot(state()), load_scripts(None))
    store, log = DriftStore(database), structlog.get_logger()
    keeper = HeartbeatKeeper(book, DiffBook(), store, sql, current, changes.extend, log, missed=3)
    book.put(replace(running(1), last_seen=time.time()))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    await keeper.sweep(time.time(), keeper.watch())
    assert not changes
    await keeper.sweep(time.time() + 300, keeper.watch())
    assert [(one.node, one.state) for one in changes] == [("n1", "silent")]
    sql.close()
    database.close()
