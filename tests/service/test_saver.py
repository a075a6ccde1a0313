"""The snapshot file: the newest wins, whoever is interrupted."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import structlog

from bootserve.service.saver import Saver, saved_snapshot
from tests.support.states import generation, node, snapshot, state


async def test_a_cancelled_write_never_takes_the_place_of_a_newer_one(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    nodes = [node(f"n{n}", f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}") for n in range(3000)]
    for number in range(1, 20, 2):
        saver = Saver(path, structlog.get_logger())
        saver.publish(snapshot(state(*nodes), generation("web@1"), revision=number))
        task = asyncio.create_task(saver.run())
        await asyncio.sleep(0.001 * number)  # somewhere in the middle of the write
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        saver.publish(snapshot(state(node("last")), generation("web@1"), revision=number + 1))
        await saver.save()
        await asyncio.get_running_loop().run_in_executor(None, saver._writing.acquire)
        found = saved_snapshot(path)
        assert found is not None
        assert (found.revision.number, set(found.plans)) == (number + 1, {"last"})
