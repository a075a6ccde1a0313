"""SQL is filled behind the answers: after a storm of boots, and in it for whoever reads."""

from __future__ import annotations

import asyncio
import contextlib
import os
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
        self.folder = folder
        self.database = Database.open(sqlite_url(folder / "db"))
        self.journal = Journal(folder / "journal", max_bytes=max_bytes, clock=lambda: 1.0)
        self.boots = BootStore(self.database, self.journal.id)
        self.sql = DatabaseThread()
        log = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])
        self.filler = Filler(self.journal, self.boots, self.sql, log)

    def storm(self, count: int, first: int | None = None) -> None:
        first = self.journal.sequence if first is None else first
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


def power_loss(folder: Path, synced: dict[int, int]) -> None:
    """Cut every file of the journal to what was in it when it was synced last."""
    for path in (folder / "journal").glob("*.journal"):
        os.truncate(path, synced.get(path.stat().st_ino, 0))


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """The size of each file at its last fsync, by inode."""
    sizes: dict[int, int] = {}
    sync = os.fsync

    def noted(fd: int) -> None:
        sync(fd)
        found = os.fstat(fd)
        sizes[found.st_ino] = found.st_size

    monkeypatch.setattr(os, "fsync", noted)
    return sizes


def ids(scene: Scene) -> set[int]:
    return {int(one.boot.id, 16) for one in scene.boots.boots(limit=10**6)}


async def test_sql_never_gets_ahead_of_the_disk(scene: Scene, synced: dict[int, int]) -> None:
    scene.storm(5)
    scene.journal.sync()
    scene.storm(5)
    await scene.filler.flush()
    power_loss(scene.folder, synced)
    after = Scene(scene.folder, 1 << 26)
    assert after.journal.sequence == after.boots.applied() == 10
    after.storm(5)
    await after.filler.flush()
    assert ids(after) == set(range(15))
    assert after.boots.gaps() == []
    after.close()


@pytest.mark.parametrize("away", [0, 3, 8])
async def test_a_journal_that_ends_before_sql_goes_on_behind_it(tmp_path: Path, away: int) -> None:
    """As after a power loss that took records which SQL has; ``away`` boots come before SQL."""
    scene = Scene(tmp_path, 1 << 26)
    scene.storm(5)
    (file,) = (tmp_path / "journal").glob("*.journal")
    size = file.stat().st_size
    scene.storm(5)
    await scene.filler.flush()
    scene.close()
    os.truncate(file, size)
    scene = Scene(tmp_path, 1 << 26)
    scene.storm(away, first=100)
    await scene.filler.flush()
    scene.storm(2, first=200)
    await scene.filler.flush()
    assert ids(scene) == {*range(10), *range(100, 100 + away), 200, 201}
    assert [one.count for one in scene.boots.gaps()] == [5]
    assert scene.journal.lost == scene.journal.missing == 0
    scene.close()
    scene = Scene(tmp_path, 1 << 26)
    scene.storm(1, first=300)
    await scene.filler.flush()
    assert 300 in ids(scene)
    assert len(scene.boots.gaps()) == 1
    scene.close()
