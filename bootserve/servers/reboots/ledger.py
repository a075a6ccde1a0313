"""Keeps what happens to reboots in the database, and waits while that is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from bootserve.errors import StorageFull, Unavailable
from bootserve.model.hooks import HookRun
from bootserve.model.reboot_record import Reboot, RebootShown
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.boots import BootHistory, BootStore
from bootserve.store.reboots import RebootStore

__all__ = ["Ledger"]

P = ParamSpec("P")
T = TypeVar("T")

PAUSE_SECONDS = 5.0


class Ledger:
    """What is on record of reboots and of nodes' boots.

    ``flush`` carries the journal to SQL first. Nothing here gives up while the database is away: a
    step that is not on record must not be taken.
    """

    def __init__(
        self,
        store: RebootStore,
        boots: BootStore,
        sql: DatabaseThread,
        flush: Callable[[], Any],
        log: Any,
    ) -> None:
        self._store = store
        self._boots = boots
        self._sql = sql
        self._flush = flush
        self._log = log
        self._begun: set[str] = set()

    async def begin(self, reboot: Reboot) -> RebootShown:
        """Return what is on record of ``reboot``, which is put there if it is new."""
        if reboot.id in self._begun:
            return await self._patiently(self._store.get, reboot.id)
        shown = await self._patiently(self._store.begin, reboot)
        self._begun.add(reboot.id)
        return shown

    async def runs(self, reboot_id: str) -> tuple[HookRun, ...]:
        """Return the attempts of a reboot's hooks."""
        return (await self._patiently(self._store.get, reboot_id)).runs

    async def change(self, reboot: Reboot, **values: Any) -> Reboot:
        """Set fields of ``reboot`` and return it as it is now."""
        await self._patiently(self._store.change, reboot.id, **values)
        if values.get("ended_at"):
            self._begun.discard(reboot.id)
        return replace(reboot, **values)

    async def started(self, reboot: Reboot, run: HookRun) -> None:
        """Put an attempt of a hook on record, before it is made."""
        await self._patiently(self._store.started, reboot.id, run)

    async def finished(self, reboot: Reboot, run: HookRun) -> None:
        """Put what became of an attempt on record."""
        await self._patiently(self._store.finished, reboot.id, run)

    async def next_attempt(self, node: str) -> int:
        """Return the number of the next reboot of ``node`` by hand; raises Unavailable."""
        return await self._sql.run(self._store.next_attempt, node)

    async def unfinished(self) -> list[RebootShown]:
        """Return the reboots by hand that had not ended when the server did."""
        return list(await self._patiently(self._store.unfinished))

    async def last_boot(self, node: str) -> BootHistory | None:
        """Return the newest boot of ``node``."""
        while True:
            try:
                await self._flush()
                return await self._sql.run(self._boots.last_boot, node)
            except (Unavailable, StorageFull):
                await asyncio.sleep(PAUSE_SECONDS)

    async def booted_since(self, node: str, since: float | None) -> BootHistory | None:
        """Return the newest boot of ``node`` if it began after ``since`` (seconds, epoch)."""
        if since is None:
            return None
        boot = await self.last_boot(node)
        return boot if boot is not None and boot.boot.minted_at > since else None

    async def _patiently(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        told = 0.0
        while True:
            try:
                return await self._sql.run(call, *args, **kwargs)
            except (Unavailable, StorageFull) as error:
                if time.monotonic() - told > 60:
                    self._log.warning("reboots wait for the database", error=str(error))
                    told = time.monotonic()
                await asyncio.sleep(PAUSE_SECONDS)
