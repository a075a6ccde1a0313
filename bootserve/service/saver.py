"""Keeps the snapshot in a file, from which the server starts while its database is away."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from bootserve.core.snapshot import Snapshot, build_snapshot
from bootserve.errors import BootserveError, Conflict
from bootserve.store.snapshot_file import SavedState, load_state, save_state, saved_revision

__all__ = ["Saver", "check_not_older", "saved_snapshot"]


def saved_snapshot(path: Path) -> Snapshot | None:
    """Return the snapshot in the file, or None when there is none; raises what load_state does."""
    saved = load_state(path)
    if saved is None:
        return None
    return build_snapshot(saved.revision, saved.state, saved.generations, saved.site_id, saved.nbps)


def check_not_older(database: Snapshot, path: Path) -> None:
    """Raise Conflict when the database is behind what was served last, as after a wrong restore.

    A node must not boot by a state that was replaced. A damaged file says nothing and is ignored:
    the database is there.
    """
    try:
        saved = saved_revision(path)
    except BootserveError:
        return
    if saved is not None and saved > database.revision.number:
        raise Conflict(
            f"the database is at revision {database.revision.number}, and this server has served"
            f" revision {saved}",
            hint=f"Restore the newer database; or, if the older one is meant, delete {path}.",
        )


class Saver:
    """Writes each snapshot put in force, the newest first; those in between are left out."""

    def __init__(self, path: Path, log: Any) -> None:
        self._path = path
        self._log = log
        self._newest: Snapshot | None = None
        self._wake = asyncio.Event()
        self._writing = threading.Lock()

    def publish(self, snapshot: Snapshot) -> None:
        """Have ``snapshot`` written soon."""
        self._newest = snapshot
        self._wake.set()

    async def run(self) -> None:
        """Write what is published, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.save()

    async def save(self) -> None:
        """Write the newest snapshot now, if it is not written yet."""
        try:
            await asyncio.to_thread(self._write)
        except BootserveError as error:
            self._log.error("snapshot not saved", error=str(error))

    def _write(self) -> None:
        # a write goes on in its thread when its task is cancelled: the next one waits for it here,
        # so that an older snapshot never takes a newer one's place
        with self._writing:
            snapshot, self._newest = self._newest, None
            if snapshot is not None:
                save_state(
                    self._path,
                    SavedState(
                        snapshot.revision,
                        snapshot.state,
                        snapshot.generations,
                        snapshot.site_id,
                        snapshot.nbps,
                    ),
                )
