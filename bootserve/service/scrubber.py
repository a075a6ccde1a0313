"""Reads every artifact again and again, and takes those that changed out of service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bootserve.errors import BootserveError
from bootserve.store.artifacts import DirectoryStore, Scrubbed
from bootserve.store.stamp import read_stamp, write_stamp

__all__ = ["Scrubber", "wait_until_due"]

LONGEST_SLEEP = 600.0
"""Seconds; the clock may be set meanwhile."""
LEAD = 600.0
"""Seconds from a start to the first run: after a power cut, nodes boot before the store is read."""


def wait_until_due(last: float, now: float, hours: float) -> float:
    """Return in how many seconds the next run is due, when one ended at ``last``; 0 when it is.

    Both are in seconds since the epoch. A time still to come is no time of a run: the clock was
    wrong then or is now.
    """
    return max(0.0, last + hours * 3600 - now) if last <= now else 0.0


class Scrubber:
    """Scrubs the store, one run at a time.

    ``stamp`` is the file that keeps when the last run ended: a server that is restarted every day
    scrubs all the same. ``clock`` returns seconds since the epoch; ``lead`` is how many seconds
    after a start the first run is.
    """

    def __init__(
        self,
        store: DirectoryStore,
        stamp: Path,
        log: Any,
        clock: Callable[[], float] = time.time,
        lead: float = LEAD,
    ) -> None:
        self._lead = lead
        self._store = store
        self._stamp = stamp
        self._log = log
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last = read_stamp(stamp)

    async def check(self, digest: str) -> bool:
        """Verify one artifact, and quarantine it when it is bad; raises NotFound."""
        return self._told(await asyncio.to_thread(self._store.check, digest))

    def _told(self, found: Scrubbed) -> bool:
        if not found.intact:
            self._log.error("quarantined", artifact=found.digest, reason=found.reason)
        return found.intact

    async def scrub(self) -> tuple[int, list[str]]:
        """Verify every artifact; return how many were read and the digests that were bad."""
        async with self._lock:
            checked, bad = 0, []
            steps = self._store.scrub()
            while (found := await asyncio.to_thread(next, steps, None)) is not None:
                checked += 1
                if not self._told(found):
                    bad.append(found.digest)
            await self._ended()
            return checked, bad

    async def _ended(self) -> None:
        self._last = self._clock()
        try:
            await asyncio.to_thread(write_stamp, self._stamp, self._last)
        except BootserveError as error:  # the next start then scrubs sooner than it need
            self._log.warning("time of the scrub not saved", error=str(error))

    async def run(self, hours: float) -> None:
        """Scrub whenever ``hours`` have passed since the last run, until cancelled; 0 never does.

        The time counts on while the server is down. A server that never scrubbed does so soon.
        """
        await asyncio.sleep(min(self._lead, hours * 3600))
        while hours:
            wait = wait_until_due(self._last, self._clock(), hours)
            if wait:
                await asyncio.sleep(min(wait, LONGEST_SLEEP))
                continue
            try:
                await self.scrub()
            except BootserveError as error:
                self._last = self._clock()
                self._log.error("scrub failed", error=str(error))
