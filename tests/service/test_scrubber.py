"""When the store is scrubbed, and that its time is kept."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
import structlog

from bootserve.errors import NotFound
from bootserve.service.scrubber import Scrubber, wait_until_due
from bootserve.store.artifacts import DirectoryStore
from bootserve.store.stamp import read_stamp, write_stamp

HOUR = 3600.0
NOW = 1_800_000_000.0


class EnoughSeen(Exception):
    """What a clock raises that is asked once more than there are moments."""


@pytest.mark.parametrize(
    ("ago", "wait"),
    [
        (0.0, 24 * HOUR),
        (23 * HOUR, HOUR),
        (24 * HOUR, 0.0),
        (1000 * HOUR, 0.0),
        (NOW, 0.0),  # it never ran
        (-1.0, 0.0),  # the clock was ahead then
    ],
)
def test_it_is_due_a_period_after_the_last_run(ago: float, wait: float) -> None:
    assert wait_until_due(NOW - ago, NOW, 24.0) == wait


async def test_a_run_is_on_record_for_the_next_start(tmp_path: Path) -> None:
    store, stamp = DirectoryStore(tmp_path / "artifacts"), tmp_path / "scrubbed"
    assert read_stamp(stamp) == 0
    scrubber = Scrubber(store, stamp, structlog.get_logger(), clock=lambda: NOW)
    assert await scrubber.scrub() == (0, [])
    assert read_stamp(stamp) == NOW
    stamp.write_bytes(b"\xff?")
    assert read_stamp(stamp) == 0, "a damaged one: it is due"


@pytest.mark.parametrize(("ago", "runs"), [(24.1 * HOUR, True), (23.9 * HOUR, False)])
async def test_the_time_of_the_last_run_outlives_a_restart(
    tmp_path: Path, ago: float, runs: bool
) -> None:
    store, stamp = DirectoryStore(tmp_path / "artifacts"), tmp_path / "scrubbed"
    write_stamp(stamp, NOW - ago)
    moments = iter([NOW, NOW])  # when it looks whether it is due, and when it has run

    def clock() -> float:
        for moment in moments:
            return moment
        raise EnoughSeen

    scrubber = Scrubber(store, stamp, structlog.get_logger(), clock, lead=0.0)
    with pytest.raises(EnoughSeen if runs else TimeoutError):
        async with asyncio.timeout(60 if runs else 0.5):
            await scrubber.run(24.0)
    assert read_stamp(stamp) == (NOW if runs else NOW - ago)


async def test_a_stamp_that_cannot_be_written_stops_no_scrub(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "artifacts")
    digest = hashlib.sha256(b"x").hexdigest()
    store.append(digest, 0, b"x")
    store.finish(digest, 1)
    scrubber = Scrubber(store, tmp_path / "nowhere" / "scrubbed", structlog.get_logger())
    assert await scrubber.scrub() == (1, [])
    assert await scrubber.check(digest)
    with pytest.raises(NotFound):
        await scrubber.check("0" * 64)
