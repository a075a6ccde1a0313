"""Deletes artifacts that nothing needs: what an import left that never became a generation."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from bootserve.errors import BootserveError, StorageFull
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.artifacts import ArtifactStore
from bootserve.store.generations import GenerationStore

__all__ = ["Collector"]

KEPT_SECONDS = 24 * 3600.0
"""An import that broke off can be gone on with for so long."""
BUSY_SECONDS = 600.0
"""An upload that got a byte within so long is under way."""
PERIOD = 3600.0


class Collector:
    """Deletes what no generation and no NBP needs; ``clock`` returns seconds since the epoch.

    ``lock`` is held by whoever makes artifacts needed, from its look whether they are there on, and
    by whoever deletes unneeded ones: the two must not cross.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        generations: GenerationStore,
        database: DatabaseThread,
        log: Any,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._artifacts = artifacts
        self._generations = generations
        self._database = database
        self._log = log
        self._clock = clock
        self.lock = asyncio.Lock()

    async def delete(self, digests: Iterable[str]) -> None:
        """Delete artifacts that nothing needs; the caller has the lock."""
        for digest in digests:
            await asyncio.to_thread(self._artifacts.delete, digest)

    async def _drop(self, digests: Iterable[str], reason: str) -> None:
        for digest in digests:
            await self.delete([digest])
            self._log.info("dropped", artifact=digest, reason=reason)

    async def _unneeded(self) -> Sequence[str]:
        stored = await asyncio.to_thread(
            lambda: {*self._artifacts.list(), *self._artifacts.quarantined()}
        )
        return await self._database.run(self._generations.unneeded, stored) if stored else []

    def _newest(self, digests: Iterable[str]) -> float:
        """Return when the last byte of an upload, or of one of ``digests``, came."""
        uploads = self._artifacts.uploads().values()
        return max((*uploads, *map(self._artifacts.touched, digests)), default=0.0)

    async def collect(self) -> None:
        """Drop uploads that broke off a day ago, and artifacts that nothing needs.

        An import uploads one artifact after another before all of them become needed, so while
        anything that is not needed came within the last day, all of it is kept. Raises what the
        stores raise.
        """
        before = self._clock() - KEPT_SECONDS
        for digest in await asyncio.to_thread(self._artifacts.prune_uploads, before):
            self._log.info("dropped", artifact=digest, reason="its upload was not gone on with")
        async with self.lock:
            unneeded = await self._unneeded()
            if unneeded and await asyncio.to_thread(self._newest, unneeded) < before:
                await self._drop(unneeded, "nothing needs it")

    @contextlib.asynccontextmanager
    async def undoing(self) -> AsyncIterator[None]:
        """Undo the import that the block is a step of when there is no room for it.

        What it is that it uploaded is not known here: all that nothing needs is dropped, unless
        another upload is under way, for which it may be. Not to be entered with the lock.
        """
        try:
            yield
        except StorageFull:
            try:
                await self._make_room()
            except BootserveError as error:
                self._log.error("import not undone", error=str(error))
            raise

    async def _make_room(self) -> None:
        async with self.lock:
            busy = self._clock() - BUSY_SECONDS
            if await asyncio.to_thread(self._newest, ()) < busy:
                await self._drop(await self._unneeded(), "an import found no room")

    async def run(self) -> None:
        """Collect every hour, until cancelled."""
        while True:
            try:
                await self.collect()
            except BootserveError as error:
                self._log.warning("nothing collected", error=str(error))
            await asyncio.sleep(PERIOD)
