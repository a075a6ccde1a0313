"""The snapshot file: the newest wins, whoever is interrupted."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
import structlog

from bootserve.service import saver as module
from bootserve.service.saver import Saver, saved_snapshot
from bootserve.store.snapshot_file import SavedState, save_state
from tests.support.states import generation, node, snapshot, state


async def test_a_cancelled_write_never_takes_the_place_of_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def held(path: Path, saved: SavedState) -> None:
        if saved.revision.number == 1:
            writing.set()
            assert go_on.wait(60)
        save_state(path, saved)

    monkeypatch.setattr(module, "save_state", held)
    path = tmp_path / "snapshot.json"
    saver = Saver(path, structlog.get_logger())
    saver.publish(snapshot(state(node("first")), generation("web@1"), revision=1))
    task = asyncio.create_task(saver.run())
    assert await asyncio.to_thread(writing.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    saver.publish(snapshot(state(node("last")), generation("web@1"), revision=2))
    newer = asyncio.create_task(saver.save())
    # the write that goes on in its thread is waited for: one that is not would be done by then
    assert not (await asyncio.wait([newer], timeout=0.3))[0]
    go_on.set()
    await asyncio.wait_for(newer, 60)
    found = saved_snapshot(path)
    assert found is not None
    assert (found.revision.number, set(found.plans)) == (2, {"last"})
