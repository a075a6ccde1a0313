"""Brings boots that are under way back from the database, after a restart or an eviction."""

from __future__ import annotations

from collections.abc import Iterable

from bootserve.core.resolve import Generations
from bootserve.core.timeline import ActiveBoot
from bootserve.errors import NotFound
from bootserve.model.boot import Phase
from bootserve.servers.boot.guards import Guards
from bootserve.servers.boot.recorder import active_boot
from bootserve.servers.boot.reports import NODE_PHASES
from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.service.filler import Filler
from bootserve.store.boots import BootHistory, BootStore

__all__ = ["Recall", "recent_boots", "remember_loops", "untouched"]


def recent_boots(boots: BootStore, generations: Generations, since: float) -> list[ActiveBoot]:
    """Return the boots minted after ``since`` (epoch seconds), the oldest first; blocks."""
    tokens = boots.tokens_since(since)
    found = (
        _recalled(one, tokens.get(one.boot.id), generations) for one in boots.active_since(since)
    )
    return [active for active in found if active is not None]


def _recalled(
    history: BootHistory, token: str | None, generations: Generations
) -> ActiveBoot | None:
    generation = generations.get(history.boot.generation)
    if generation is None:
        return None
    active = active_boot(history.boot, generation)
    active.token_hash = token or ""
    active.phases |= {seen.phase for seen in history.phases}
    return active


def untouched(boots: Iterable[ActiveBoot], since: float) -> list[ActiveBoot]:
    """Return those of ``boots`` whose machine was given none after ``since`` (epoch seconds)."""
    boots = list(boots)
    touched = {active.boot.mac for active in boots if active.boot.minted_at >= since}
    return [active for active in boots if active.boot.mac not in touched]


def remember_loops(
    guards: Guards, boots: Iterable[ActiveBoot], now: float, monotonic: float
) -> None:
    """Count ``boots``, the oldest first, as if this server had minted them.

    ``now`` is seconds since the epoch, ``monotonic`` the same moment on the clock of the guards.
    """
    for active in boots:
        boot = active.boot
        at = monotonic - max(0.0, now - boot.minted_at)
        if active.phases & NODE_PHASES - {Phase.FAILED}:
            guards.loops.release(boot.mac)
        else:
            guards.loops.served(boot.mac, at)
        guards.minter.minted(boot)


class Recall:
    """Finds a boot by its id in the database."""

    def __init__(
        self, current: Current, boots: BootStore, database: DatabaseThread, filler: Filler
    ) -> None:
        self._current = current
        self._boots = boots
        self._database = database
        self._filler = filler

    async def find(self, boot_id: str) -> ActiveBoot | None:
        """Return the boot, or None when there is none; raises Unavailable."""
        await self._filler.flush()
        return await self._database.run(self._find, boot_id)

    def _find(self, boot_id: str) -> ActiveBoot | None:
        try:
            history = self._boots.boot(boot_id)
        except NotFound:
            return None
        token = self._boots.token_of_boot(boot_id)
        return _recalled(history, token, self._current.snapshot.generations)
