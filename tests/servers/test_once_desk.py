"""A one-shot action is handed out once, whatever the disk, the journal or a crash do."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from bootserve.errors import BootserveError, StorageFull
from bootserve.model.once import BootOnce, OnceAction
from bootserve.servers.boot.once import OnceDesk
from bootserve.store.journal import Journal
from bootserve.store.once_files import OnceFiles
from bootserve.store.records import OnceRecord
from tests.support.disks import fill, small_disk
from tests.support.states import MAC

ONCE = BootOnce("a" * 32, "n1", OnceAction.LOCAL, "", "", "root", 1000.0)
HERE = "10.0.0.9"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, for the files of the actions."""
    with small_disk(tmp_path / "disk", "1m") as folder:
        yield folder


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


class World:
    """A desk on ``disk``, with a journal elsewhere; ``again`` is the desk after a crash."""

    def __init__(self, disk: Path, folder: Path, journal_bytes: int = 1 << 20) -> None:
        self.disk = disk
        self.files = OnceFiles(disk / "once")
        self.journal = Journal(folder / "journal", max_bytes=journal_bytes, clock=lambda: 1.0)
        self.log = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])
        self.served: list[str] = []
        self.desk = self.again()

    def again(self) -> OnceDesk:
        self.desk = OnceDesk(self.files, self.journal, self.log, lambda: None)
        return self.desk

    async def consume(self, address: str = HERE) -> None:
        once = self.desk.pending("n1") or ONCE
        await self.desk.consume(once, MAC, address, None, lambda: self.served.append(address))

    @property
    def outcomes(self) -> list[str]:
        records = (record for _, record in self.journal.replay())
        return [record.outcome for record in records if isinstance(record, OnceRecord)]


@pytest.fixture
def world(disk: Path, tmp_path: Path) -> Iterator[World]:
    made = World(disk, tmp_path)
    yield made
    made.journal.close()


async def test_two_requests_at_once_are_one_boot(world: World) -> None:
    await world.desk.put(ONCE)
    await asyncio.gather(world.consume(), world.consume())
    assert world.served == [HERE]
    assert world.desk.repeated("n1", HERE) == (ONCE, None)
    assert world.desk.repeated("n1", "10.0.0.10") is None
    assert world.desk.pending("n1") is None
    assert world.outcomes == ["pending", "consumed"]
    assert world.again().pending("n1") is None
    assert world.outcomes == ["pending", "consumed"]


async def test_what_could_not_be_made_durable_is_not_handed_out(world: World) -> None:
    await world.desk.put(ONCE)
    remount(world.disk, "ro")
    with pytest.raises(BootserveError, match="not allowed while taking"):
        await world.consume()
    assert world.served == []
    assert world.desk.pending("n1") == ONCE
    remount(world.disk, "rw")
    await world.consume()
    assert world.served == [HERE]
    assert world.outcomes == ["pending", "consumed"]


async def test_a_full_disk_neither_keeps_it_nor_repeats_it(world: World) -> None:
    await world.desk.put(ONCE)
    fill(world.disk / "filler")
    with pytest.raises(StorageFull):
        await world.desk.put(BootOnce("b" * 32, "n2", OnceAction.LOCAL, "", "", "root", 1.0))
    assert world.desk.pending("n2") is None
    await world.consume()
    assert world.served == [HERE]
    assert world.again().pending("n1") is None


async def test_a_crash_after_it_was_taken_is_recorded_at_the_next_start(world: World) -> None:
    await world.desk.put(ONCE)
    world.files.take(ONCE)  # as far as a server came that was killed there
    desk = world.again()
    assert desk.pending("n1") is None
    assert world.outcomes == ["pending", "consumed"]
    assert world.files.taken() == []


async def test_what_cannot_be_recorded_is_not_set(disk: Path, tmp_path: Path) -> None:
    world = World(disk, tmp_path, journal_bytes=4096)
    script = "#!ipxe\n" + "echo\n" * 2000
    with pytest.raises(StorageFull, match="would go unrecorded"):
        await world.desk.put(BootOnce("c" * 32, "n1", OnceAction.SCRIPT, "", script, "root", 1.0))
    assert world.desk.pending("n1") is None
    assert world.again().pending("n1") is None
    world.journal.close()


async def test_a_damaged_file_is_told_and_keeps_no_other_from_being_done(world: World) -> None:
    await world.desk.put(ONCE)
    (world.disk / "once" / f"{'d' * 32}.json").write_text("{")
    assert world.again().pending("n1") == ONCE


async def test_nodes_that_are_no_more_leave_nothing(world: World) -> None:
    await world.desk.put(ONCE)
    world.desk.keep_only({"n2"})
    assert world.desk.pending("n1") is None
    assert world.outcomes == ["pending", "gone"]
    assert world.again().pending("n1") is None
