"""Carries the journal to SQL, behind the answers to the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

from bootserve.errors import BootserveError
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.boots import BootStore
from bootserve.store.journal import Journal

__all__ = ["Filler"]

BATCH = 10_000
PAUSE = 0.25
RETRY = 2.0
STORM = 25
"""So many records in one pause, of some twelve boots a second, are a storm: answering nodes comes
before filling SQL then, whose thread and the event loop's wait for each other at Python's lock."""


class Filler:
    """Applies what is in the journal and not yet in SQL, then lets the journal drop it.

    In a storm of boots it waits, until the journal is a quarter full: whoever reads SQL flushes
    first, so nobody sees it behind.

    ``applied`` is the sequence up to which SQL has it. While the database is ``away`` the journal
    keeps growing up to its bound and nothing else happens; ``returned`` is awaited once it is back.
    """

    def __init__(
        self,
        journal: Journal,
        boots: BootStore,
        database: DatabaseThread,
        log: Any,
        *,
        away: bool = False,
    ) -> None:
        self._journal = journal
        self._boots = boots
        self._database = database
        self._log = log
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._seen = 0
        self.applied = 0
        self.away = away
        self._known = False

    def wake(self) -> None:
        """Something was appended."""
        self._wake.set()

    async def flush(self) -> None:
        """Carry everything that is in the journal now; raises what the database raises."""
        async with self._lock:
            if not self._known:
                self.applied = await self._database.run(self._first_look)
                self._known = True
            goal = self._journal.sequence
            while self.applied < goal:
                self.applied = await self._database.run(self._step)
            if self.applied < self._journal.sequence:
                self._wake.set()

    def _first_look(self) -> int:
        applied = self._boots.applied()
        self._journal.go_on_after(applied)
        return applied

    def _step(self) -> int:
        goal = self._journal.sequence
        batch = list(islice(self._journal.replay(self.applied), BATCH))
        if not batch:
            return goal
        through = batch[-1][0]
        self._journal.sync()  # after a power loss SQL must know no record that the journal lost
        self._boots.apply(batch, through)
        self._journal.discard(through)
        return through

    def _storm(self) -> bool:
        """Return whether SQL should wait: records come fast, and the journal has room for more."""
        newest = self._journal.sequence
        came, self._seen = newest - self._seen, newest
        return came > STORM and self._journal.size * 4 < self._journal.max_bytes and not self.away

    async def run(self, returned: Callable[[], Awaitable[None]]) -> None:
        """Carry records as they come, until cancelled; syncs the journal to disk on the way."""
        if self.away:
            self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                storm = self._storm()
                if storm or self.away:  # else what is carried is synced
                    await asyncio.to_thread(self._journal.sync)
                if storm:
                    self._wake.set()
                else:
                    await self.flush()
                if self.away:
                    await returned()
                    self.away = False
                    self._log.info("database back")
            except BootserveError as error:
                if not self.away:
                    self._log.error("database away", error=str(error))
                self.away = True
                self._wake.set()
                await asyncio.sleep(RETRY)
            await asyncio.sleep(PAUSE)
