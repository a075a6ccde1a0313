"""Reads every artifact again and again, and takes those that changed out of service."""

from __future__ import annotations

import asyncio
from typing import Any

from bootserve.errors import BootserveError
from bootserve.store.artifacts import DirectoryStore

__all__ = ["Scrubber"]


class Scrubber:
    """Scrubs the store, one run at a time."""

    def __init__(self, store: DirectoryStore, log: Any) -> None:
        self._store = store
        self._log = log
        self._lock = asyncio.Lock()

    async def scrub(self) -> tuple[int, list[str]]:
        """Verify every artifact; return how many were read and the digests that were bad."""
        async with self._lock:
            checked, bad = 0, []
            steps = self._store.scrub()
            while (found := await asyncio.to_thread(next, steps, None)) is not None:
                checked += 1
                if not found.intact:
                    bad.append(found.digest)
                    self._log.error("quarantined", artifact=found.digest, reason=found.reason)
            return checked, bad

    async def run(self, hours: float) -> None:
        """Scrub every ``hours``, until cancelled; 0 never does."""
        while hours:
            await asyncio.sleep(hours * 3600)
            try:
                await self.scrub()
            except BootserveError as error:
                self._log.error("scrub failed", error=str(error))
