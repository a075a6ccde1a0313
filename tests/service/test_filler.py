"""SQL is filled behind the answers: after a storm of boots, and in it for whoever reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from bootserve.model.boot import Boot
from bootserve.model.generation import GenerationRef
from bootserve.servers.dbthread import DatabaseThread
from bootserve.service.filler import STORM, Filler
from bootserve.store.boots import BootStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.journal import Journal

SECONDS = 60


class Scene:
    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.database = Database.open(sqlite_url(folder / "db"))
        self.journal = Journal(folder / "journal", max_bytes=max_bytes, clock=lambda: 1.0)
        self.boots = BootStore(self.database, self.journal.id)
        self.sql = DatabaseThread()
        log = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])
        self.filler = Filler(self.journal, self.boots, self.sql, log)

    def storm(self, count: int) -> None:
        first = self.journal.sequence
        ref = GenerationRef("web", 1)
        self.journal.append_all(
            [
                Boot(f"{first + n:032x}", "n1", "02:00:00:00:00:01", ref, "d" * 64, 1, 1.0, "a")
                for n in range(count)
            ]
        )
        self.filler.wake()

    def close(self) -> None:
        self.sql.close()
        self.journal.close()
        self.database.close()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    one = Scene(tmp_path, 1 << 26)
    yield one
    one.close()


@contextlib.asynccontextmanager
async def running(filler: Filler) -> AsyncIterator[None]:
    async def nothing() -> None:
        pass

    task = asyncio.create_task(filler.run(nothing))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def arrived(filler: Filler, count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while filler.applied < count:  # noqa: ASYNC110 - it is told to nobody
            await asyncio.sleep(0.05)


async def test_a_storm_is_in_sql_when_it_is_over(scene: Scene) -> None:
    async with running(scene.filler):
        scene.storm(10 * STORM)
        await arrived(scene.filler, 10 * STORM)
        scene.storm(3)
        await arrived(scene.filler, 10 * STORM + 3)
    assert len(scene.boots.boots(limit=10**6)) == 10 * STORM + 3


async def test_whoever_reads_has_all_of_it_at_once(scene: Scene) -> None:
    async with running(scene.filler):
        for _ in range(5):
            scene.storm(2 * STORM)
            await scene.filler.flush()
            assert scene.filler.applied == scene.journal.sequence
    assert len(scene.boots.boots(limit=10**6)) == 10 * STORM


async def test_a_journal_that_fills_up_is_carried_in_the_midst_of_a_storm(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 1 << 20)
    async with running(scene.filler):
        total = 0
        async with asyncio.timeout(SECONDS):
            while scene.filler.applied == 0:
                if scene.journal.size < 700_000:
                    scene.storm(STORM + 1)
                    total += STORM + 1
                await asyncio.sleep(0.05)
        await scene.filler.flush()
    assert scene.journal.lost == 0
    assert len(scene.boots.boots(limit=10**6)) == total
    scene.close()
