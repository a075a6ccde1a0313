"""Keeps the book of heartbeats: gives it back at start, saves it, and notices who falls silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from bootserve.core.diffs import DiffBook
from bootserve.core.drift import Watch, overdue
from bootserve.core.heartbeats import HeartbeatBook, Running
from bootserve.core.snapshot import Snapshot
from bootserve.core.vigil import Vigil
from bootserve.errors import BootserveError
from bootserve.model.drift import DriftChange
from bootserve.servers.boot.heartbeats import Pace
from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.settings import Settings
from bootserve.store.drift import DriftStore

__all__ = ["HeartbeatKeeper", "pace_of"]

SWEEP_SECONDS = 10.0
SLICE = 100
"""So many nodes are looked at before others have their turn: a site may fall silent at once."""
SAVE_SWEEPS = 30
"""Heartbeats are saved every so many sweeps; after a crash the rest is heard again within one."""


def pace_of(settings: Settings) -> Pace:
    """Return how often nodes are to send heartbeats."""
    return Pace(settings.heartbeat_seconds, settings.heartbeats_per_second)


class HeartbeatKeeper:
    """The running server's heartbeats.

    ``spoken`` records who fell silent or is heard again (Recorder.spoken): who has missed
    ``missed`` heartbeats while this server listened, which come every ``seconds``, or as told.
    """

    def __init__(
        self,
        book: HeartbeatBook,
        diffs: DiffBook,
        store: DriftStore,
        database: DatabaseThread,
        current: Current,
        spoken: Callable[[Sequence[DriftChange]], None],
        log: Any,
        missed: int,
        seconds: float = 60.0,
    ) -> None:
        self.book = book
        self.diffs = diffs
        self.store = store
        self._vigil = Vigil()
        self._missed = missed
        self._seconds = seconds
        self.watch()
        self._database = database
        self._current = current
        self._spoken = spoken
        self._log = log

    def watch(self) -> Watch:
        """Return since when this server listens, anew when its clock was set, and the limit."""
        return Watch(self._vigil.since(time.time(), time.monotonic()), self._missed)

    def forget_all_but(self, snapshot: Snapshot) -> None:
        """Drop nodes that are not in ``snapshot``."""
        self.book.forget_all_but(snapshot.state.nodes.keys())

    async def recall(self) -> None:
        """Take in what nodes reported before this server started; raises Unavailable."""
        snapshot = self._current.snapshot
        known = await self._database.run(self.store.load, snapshot.generations, self._seconds)
        gone = [one.node for one in known if one.node not in snapshot.state.nodes]
        if gone:
            await self._database.run(self.store.forget, gone)
        self.book.restore(one for one in known if one.node in snapshot.state.nodes)

    async def run(self) -> None:
        """Sweep, and save now and then, until cancelled."""
        sweeps = 0
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            sweeps += 1
            await self.sweep(time.time(), self.watch())
            if sweeps % SAVE_SWEEPS == 0:
                await self.save()

    async def sweep(self, now: float, watch: Watch) -> None:
        """Record who fell silent by ``now`` (seconds since the epoch) and who is heard again."""
        nodes = [running.node for running in self.book]
        for place in range(0, len(nodes), SLICE):
            known = [self.book.of(node) for node in nodes[place : place + SLICE]]
            changed = [
                running
                for running in known
                if running is not None and overdue(running, now, watch) != running.silent
            ]
            for running in changed:
                running.silent = not running.silent
            if changed:
                self._spoken([_change(running, now) for running in changed])
            await asyncio.sleep(0)

    async def save(self) -> None:
        """Store what nodes report now."""
        try:
            await self._database.run(self.store.save, list(self.book))
        except BootserveError as error:
            self._log.warning("heartbeats not saved", error=str(error))


def _change(running: Running, now: float) -> DriftChange:
    state = "silent" if running.silent else "heard"
    return DriftChange(running.node, running.boot, now, state, running.count, running.drift)
