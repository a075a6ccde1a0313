"""One-shot actions: set, cancelled, and handed out to one boot of their node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from bootserve.core.minting import RETRY_SECONDS
from bootserve.errors import BootserveError, StorageFull
from bootserve.model.boot import Boot
from bootserve.model.names import Mac
from bootserve.model.once import BootOnce, OnceOutcome
from bootserve.store.journal import Journal
from bootserve.store.once_files import OnceFiles
from bootserve.store.records import OnceRecord

__all__ = ["OnceDesk"]


@dataclass(slots=True)
class _Served:
    """An action on its way to a node: the task makes it durable, then returns its boot, if any."""

    once: BootOnce
    address: str
    at: float
    task: asyncio.Task[None]
    boot: Boot | None = None


class OnceDesk:
    """The actions that wait, by node, and those just handed out.

    ``files`` says at start what waits; ``journal`` gets a record of everything that becomes of an
    action, and ``appended`` is called after each, so that it is carried to SQL soon. ``log`` is a
    structlog logger. Its blocking work is done in threads.
    """

    def __init__(
        self, files: OnceFiles, journal: Journal, log: Any, appended: Callable[[], None]
    ) -> None:
        self._files = files
        self._journal = journal
        self._appended = appended
        self._log = log
        self._pending: dict[str, BootOnce] = {}
        self._served: dict[str, _Served] = {}
        for once in files.pending():
            self._pending[once.node] = once
        for error in files.damaged:
            log.error("boot once", error=str(error), hint=error.hint)
        for once in files.taken():  # a crash came between taking it and its record
            if journal.append(_ended(once, OnceOutcome.CONSUMED)):
                journal.sync()
                files.drop(once)

    def pending(self, node: str) -> BootOnce | None:
        """Return the action that waits for the next boot of ``node``."""
        return self._pending.get(node)

    def concerns(self, node: str) -> bool:
        """Whether a script request of ``node`` is this desk's business; two lookups, no more."""
        return node in self._pending or node in self._served

    async def put(self, once: BootOnce) -> None:
        """Have ``once`` done at the next boot of its node, in place of what waits; durable.

        Raises StorageFull, Refused or Unavailable, and nothing has changed then.
        """
        await asyncio.to_thread(self._put, once)
        self._appended()
        before = self._pending.get(once.node)
        self._pending[once.node] = once
        self._log.info("boot once", node=once.node, action=str(once), by=once.set_by)
        if before is not None:
            await self._end(before, OnceOutcome.REPLACED, once.set_by)

    def _put(self, once: BootOnce) -> None:
        self._files.put(once)
        if not self._journal.append(_set(once)):
            self._files.drop(once)
            raise StorageFull("the journal cannot be written, so the action would go unrecorded")
        self._journal.sync()

    async def cancel(self, node: str, by: str) -> BootOnce | None:
        """Drop what waits for ``node`` and return it, or None when nothing does."""
        once = self._pending.pop(node, None)
        if once is not None:
            await self._end(once, OnceOutcome.CANCELLED, by)
            self._log.info("boot once cancelled", node=node, action=str(once), by=by)
        return once

    async def _end(self, once: BootOnce, outcome: OnceOutcome, by: str) -> None:
        self._journal.append(_ended(once, outcome, by=by))
        self._appended()
        await asyncio.to_thread(self._files.drop, once)

    def keep_only(self, nodes: Collection[str]) -> None:
        """Drop what waits for nodes that are no more: another node may get the name one day."""
        for name in [name for name in self._served if name not in nodes]:
            del self._served[name]
        for name in [name for name in self._pending if name not in nodes]:
            once = self._pending.pop(name)
            self._journal.append(_ended(once, OnceOutcome.GONE))
            try:
                self._files.drop(once)
            except BootserveError as error:
                self._log.error("boot once", node=name, error=str(error))

    def repeated(self, node: str, address: str) -> tuple[BootOnce, Boot | None] | None:
        """Return what was handed out to ``node`` at ``address`` within the last 5 s, and its boot.

        An older one is forgotten.
        """
        served = self._served.get(node)
        if served is None:
            return None
        if time.monotonic() - served.at >= RETRY_SECONDS:
            if served.task.done():
                del self._served[node]
            return None
        return (served.once, served.boot) if served.address == address else None

    async def consume(
        self, once: BootOnce, mac: Mac, address: str, boot: Boot | None, then: Callable[[], None]
    ) -> None:
        """Hand ``once`` out to ``boot`` of ``mac`` at ``address``; on return that is durable.

        ``then`` is called once it is. Asked again meanwhile, as by :meth:`repeated`, it waits for
        the same. Raises StorageFull, Refused or Unavailable when it could not be made durable: it
        still waits for a boot then.
        """
        served = self._served.get(once.node)
        if served is None or served.once != once:
            self._pending.pop(once.node, None)
            record = _ended(
                once, OnceOutcome.CONSUMED, mac=mac, address=address, boot=boot.id if boot else ""
            )
            work = self._consume(once, record, then)
            task = asyncio.get_running_loop().create_task(work)
            served = _Served(once, address, time.monotonic(), task, boot)
            self._served[once.node] = served
        await asyncio.shield(served.task)

    async def _consume(self, once: BootOnce, record: OnceRecord, then: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(self._files.take, once)
        except BaseException:
            self._served.pop(once.node, None)
            self._pending.setdefault(once.node, once)
            raise
        then()
        self._log.info(
            "boot once consumed",
            node=once.node,
            action=str(once),
            mac=record.mac,
            address=record.address,
            boot=record.boot,
        )
        if not self._journal.append(record):
            return  # it stays taken on the disk, and is recorded at the next start
        self._appended()
        try:
            await asyncio.to_thread(self._recorded, once)
        except BootserveError as error:
            self._log.error("boot once", node=once.node, error=str(error))

    def _recorded(self, once: BootOnce) -> None:
        self._journal.sync()
        self._files.drop(once)


def _set(once: BootOnce) -> OnceRecord:
    return OnceRecord(
        id=once.id,
        node=once.node,
        at=once.set_at,
        outcome=OnceOutcome.PENDING,
        action=once.action,
        generation=once.generation,
        script=once.script,
        by=once.set_by,
    )


def _ended(once: BootOnce, outcome: OnceOutcome, **fields: str) -> OnceRecord:
    return OnceRecord(id=once.id, node=once.node, at=time.time(), outcome=outcome, **fields)
