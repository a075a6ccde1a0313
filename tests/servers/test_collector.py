"""What nothing needs is deleted, and what an import under way counts on is not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from bootserve.errors import StorageFull
from bootserve.model.generation import Artifact, GenerationRef, Manifest
from bootserve.model.names import Arch
from bootserve.servers.collector import Collector
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.artifacts import DirectoryStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.generations import GenerationStore

DAY = 24 * 3600.0


class World:
    """An artifact store and generations, on real files; ``collector`` sees the time that passes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "artifacts"
        self.artifacts = DirectoryStore(self.folder)
        self.sql = DatabaseThread()
        self._database = Database.open(sqlite_url(folder / "bootserve.sqlite"))
        self.generations = GenerationStore(self._database)
        log = structlog.get_logger()
        self.collector = Collector(self.artifacts, self.generations, self.sql, log)

    def put(self, data: bytes, *, age: float = 0.0) -> Artifact:
        """Upload an artifact whose last byte came ``age`` seconds ago."""
        digest = hashlib.sha256(data).hexdigest()
        self.artifacts.append(digest, 0, data)
        self.artifacts.finish(digest, len(data))
        self.age(digest, age)
        return Artifact(sha256=digest, size=len(data))

    def begin(self, *, age: float = 0.0) -> str:
        """Begin an upload, whose last byte came ``age`` seconds ago; return its digest."""
        digest = hashlib.sha256(f"{age}".encode()).hexdigest()
        self.artifacts.append(digest, 0, b"x")
        self.age(digest, age)
        return digest

    def age(self, digest: str, age: float) -> None:
        (file,) = self.folder.rglob(digest)
        os.utime(file, (time.time() - age,) * 2)

    def manifest(self, *, age: float = 0.0) -> Manifest:
        """Upload what a generation of web is made of and return its manifest."""
        parts = {part: self.put(part.encode(), age=age) for part in ("kernel", "initrd", "root")}
        return Manifest(image="web", arch=Arch.AMD64, artifacts=parts)

    async def register(self, manifest: Manifest) -> None:
        await self.sql.run(self.generations.register, manifest, at=1.0, by="ada")

    def files(self) -> int:
        return sum(path.is_file() for path in self.folder.rglob("*"))

    def close(self) -> None:
        self.sql.close()
        self._database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


async def test_what_nothing_needs_goes_after_a_day(world: World) -> None:
    await world.register(world.manifest(age=9 * DAY))
    orphan, bad = world.put(b"orphan", age=2 * DAY), world.put(b"bad", age=2 * DAY)
    path = world.artifacts.path(bad.sha256)
    assert path is not None
    path.chmod(0o600)
    path.write_bytes(b"dab")
    assert not world.artifacts.check(bad.sha256).intact
    (world.folder / "quarantine" / bad.sha256).touch()
    world.age(bad.sha256, 2 * DAY)
    stale, fresh = world.begin(age=2 * DAY), world.begin(age=0.5 * DAY)
    await world.collector.collect()
    assert world.artifacts.uploads().keys() == {fresh}, "one that was broken off yesterday is gone"
    assert world.artifacts.has(orphan.sha256), "the import that is under way may be its own"
    world.age(fresh, 1.1 * DAY)
    await world.collector.collect()
    assert stale != fresh
    assert world.files() == 3, "the artifacts of the generation"
    assert world.artifacts.quarantined() == []


async def test_an_import_of_many_hours_is_not_disturbed(world: World) -> None:
    manifest = world.manifest(age=3 * DAY)
    root = manifest.artifacts["root"].sha256
    world.artifacts.delete(root)
    world.artifacts.append(root, 0, b"ro")
    await world.collector.collect()
    world.artifacts.append(root, 2, b"ot")
    world.artifacts.finish(root, 4)
    await world.collector.collect()
    await world.register(manifest)
    world.age(root, 3 * DAY)
    await world.collector.collect()
    assert world.files() == 3
    await world.sql.run(world.generations.remove, GenerationRef("web", 1), at=2.0)
    await world.collector.collect()
    assert world.files() == 0


async def test_it_does_not_cross_a_registration(world: World) -> None:
    manifest = world.manifest(age=3 * DAY)
    async with world.collector.lock:  # as the handler has it, from its look at the artifacts on
        collecting = asyncio.create_task(world.collector.collect())
        done, _ = await asyncio.wait([collecting], timeout=0.3)
        assert not done
        await world.register(manifest)
    await collecting
    assert world.files() == 3


@pytest.mark.parametrize("other", [False, True])
async def test_an_import_without_room_is_undone(world: World, other: bool) -> None:
    await world.register(world.manifest())
    world.put(b"the kernel of an import")
    world.begin(age=0.0 if other else 3600.0)
    with pytest.raises(StorageFull, match="no room left"):
        async with world.collector.undoing():
            raise StorageFull("no room left")
    assert world.files() == 3 + 1 + other, "kept while another upload is under way"


async def test_with_the_database_away_nothing_goes(world: World, tmp_path: Path) -> None:
    world.put(b"orphan", age=2 * DAY)
    away = GenerationStore(Database(sqlite_url(tmp_path / "no-such-folder" / "db")))
    collector = Collector(world.artifacts, away, world.sql, structlog.get_logger())
    with pytest.raises(StorageFull, match="no room left"):
        async with collector.undoing():
            raise StorageFull("no room left")
    assert world.files() == 1
