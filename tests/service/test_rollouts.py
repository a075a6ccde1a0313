"""Rollouts after a start: they know what nodes said before it, and outlive whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import structlog

from bootserve.core.heartbeats import HeartbeatBook
from bootserve.core.known_good import KnownGood, KnownGoodLimits
from bootserve.errors import NotFound
from bootserve.model.desired import Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.rollout import Member, Policy, Rollout, RolloutState
from bootserve.servers.dbthread import DatabaseThread
from bootserve.servers.rollouts.words import NodeWords
from bootserve.service.filler import Filler
from bootserve.service.rollouts import make_rollouts
from bootserve.service.wiring import Parts
from bootserve.store.boots import BootStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.journal import Journal
from bootserve.store.records import BootRecord, ReportRecord
from bootserve.store.rollouts import RolloutStore

BOOT = "01a20704095503f2e615cd788c652ca3"


class Scene:
    """A desk of rollouts with a journal, a database and what carries the one to the other."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal", max_bytes=1 << 20, clock=lambda: 7.0)
        self.database = Database.open(sqlite_url(folder / "db"), self.journal.id)
        self.sql = DatabaseThread()
        self.words = NodeWords(HeartbeatBook(), dict)
        self.logged = structlog.testing.LogCapture()
        log = structlog.wrap_logger(None, processors=[self.logged])
        boots = BootStore(self.database, self.journal.id)
        known_good = KnownGood(KnownGoodLimits(), self.words.good, lambda _node: 60.0)
        parts = SimpleNamespace(
            kept=SimpleNamespace(database=self.database),
            guards=SimpleNamespace(known_good=SimpleNamespace(known_good=known_good)),
            words=self.words,
            sql=self.sql,
            filler=Filler(self.journal, boots, self.sql, log),
            committer=None,
            current=None,
            rebooting=SimpleNamespace(rollouts=None),
            settings=SimpleNamespace(rollout_seconds=0.01),
        )
        self.desk = make_rollouts(cast(Parts, parts), log)

    def close(self) -> None:
        self.sql.close()
        self.journal.close()
        self.database.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    one = Scene(tmp_path)
    yield one
    one.close()


async def test_what_a_node_said_before_the_start_is_known_though_not_in_sql_yet(
    scene: Scene,
) -> None:
    rollout = Rollout(
        number=0,
        scope=Scope.parse("site"),
        generation=GenerationRef("web", 2),
        root="f" * 64,
        stages=(1,),
        policy=Policy(),
        created_at=1.0,
        created_by="root",
        state=RolloutState.PAUSED,
        members={"n1": Member("n1", 0)},
    )
    RolloutStore(scene.database).create(rollout)
    scene.journal.append(BootRecord(BOOT, "n1", "m", "web@2", "d" * 64, 1, 10.0, "10.0.0.5"))
    scene.journal.append(ReportRecord(BOOT, "up", 20.0, "web@2", "f" * 64, 5.0, ""))
    await scene.desk.load()
    assert [one.number for one in scene.desk.open()] == [1]
    said = scene.words.of("n1")
    assert said is not None
    assert (said.boot, said.up_at, said.root) == (BOOT, 20.0, "f" * 64)


async def test_a_failure_of_any_kind_is_logged_and_tried_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = asyncio.Event()

    async def tick() -> None:
        scene.desk._woken.set()
        if scene.logged.entries:
            again.set()
            await asyncio.Event().wait()
        raise NotFound("there is no rollout 1")

    monkeypatch.setattr(scene.desk, "tick", tick)
    task = asyncio.create_task(scene.desk.run())
    async with asyncio.timeout(60):
        await again.wait()
    task.cancel()
    assert [one["error"] for one in scene.logged.entries] == ["there is no rollout 1"]
