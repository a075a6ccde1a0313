"""Gives a server that starts what it knew before: at once, or when its database is there."""

from __future__ import annotations

import time
from typing import Any

from bootserve.errors import StorageFull, Unavailable
from bootserve.service.recall import recent_boots, remember_loops, untouched
from bootserve.service.rollouts import recall_rollouts
from bootserve.service.wiring import Parts

__all__ = ["Memory"]

REMEMBERED_SECONDS = 24 * 3600.0


class Memory:
    """What the database tells the other parts. ``log`` is a structlog logger."""

    def __init__(self, parts: Parts, log: Any) -> None:
        self._parts = parts
        self._log = log
        self._started_at = time.time()
        self._loops_known = False

    async def start(self) -> None:
        """Take it in; where the database cannot be read or written it is away, and nodes boot."""
        if self._parts.filler.away:
            return
        try:
            await self._recall()
        except (Unavailable, StorageFull) as error:
            self._log.error("database away", error=str(error))
            self._parts.filler.away = True

    async def back(self) -> None:
        """Take in what the database holds, after it was away; raises Unavailable or StorageFull."""
        await self._parts.committer.reload()
        await self._recall()

    async def _recall(self) -> None:
        """Carry what the last run left in the journal, and remember the boots under way."""
        parts = self._parts
        await parts.access.load()
        await parts.filler.flush()
        known = await parts.sql.run(
            recent_boots,
            parts.kept.boots,
            parts.current.snapshot.generations,
            time.time() - REMEMBERED_SECONDS,
        )
        parts.timeline.restore(known)
        await parts.shapes.recall(parts.kept.boots, parts.sql)
        await parts.heartbeats.recall()
        await recall_rollouts(parts, known)
        if not self._loops_known:  # else they would count twice
            before = untouched(known, self._started_at)
            remember_loops(parts.guards, before, time.time(), time.monotonic())
            self._loops_known = True
