"""Keeps what was learned of nodes' NICs: in a file beside the snapshot, shapes in SQL, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bootserve.core.shapes import ShapeBook
from bootserve.errors import BootserveError
from bootserve.model.names import Mac
from bootserve.model.shape import LearnedShape
from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.boots import BootStore
from bootserve.store.journal import Journal
from bootserve.store.records import ShapeRecord
from bootserve.store.shape_file import load_shapes, save_shapes

__all__ = ["ShapeKeeper"]


class ShapeKeeper:
    """Writes down what ``book`` learns, and gives it back at start.

    The file serves a start while the database is away; the database, through the journal, is
    what several servers share.
    """

    def __init__(
        self,
        book: ShapeBook,
        path: Path,
        current: Current,
        journal: Journal,
        log: Any,
        appended: Callable[[], None],
    ) -> None:
        self.book = book
        self._current = current
        self._path = path
        self._journal = journal
        self._log = log
        self._appended = appended
        self._changed = asyncio.Event()
        try:
            learned, bus_ids = load_shapes(path)
            book.restore(learned)
            for mac, bus_id in bus_ids.items():
                book.told(mac, bus_id)
        except BootserveError as error:  # it says nothing that the next boots do not tell again
            log.warning("learned shapes not read", error=str(error))

    def learned(self, learned: LearnedShape, node: str) -> None:
        """Take note that a shape worked for ``node`` after the other had not."""
        self._journal.append(ShapeRecord(learned.mac, node, learned.shape, learned.at))
        self._appended()
        self._changed.set()
        self._log.info(
            "shape",
            node=node,
            mac=learned.mac,
            shape=learned.shape,
            detail="it took an offer in this shape after none in the other; remembered",
        )

    def told(self, mac: Mac, node: str) -> None:
        """Take note that an iPXE told of a NIC of ``node`` what a quirk needs to know."""
        self._changed.set()
        self._log.info(
            "nic",
            node=node,
            mac=mac,
            bus_id=self.book.bus_ids[mac],
            detail="a quirk goes by this bus id; remembered for the firmware's next DISCOVER",
        )

    def fetched(self, address: str, at: float) -> None:
        """Take note that ``address`` has fetched an NBP: it took its offer. ``at`` as in Boot."""
        mac = self.book.mac_at(address)
        if not mac:
            return
        plan = self._current.snapshot.plan(mac)
        found = self.book.started(mac, at, known=plan is not None)
        if found and plan:
            self.learned(found, plan.node.name)

    async def recall(self, boots: BootStore, database: DatabaseThread) -> None:
        """Take in what the database has; raises Unavailable."""
        self.book.restore(await database.run(boots.shapes))
        self.book.forget_all_but(self._current.snapshot.by_mac.keys())
        self._changed.set()

    async def run(self) -> None:
        """Write the file whenever something changed, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.save()

    async def save(self) -> None:
        """Write the file now."""
        learned, bus_ids = list(self.book.learned.values()), dict(self.book.bus_ids)
        try:
            await asyncio.to_thread(save_shapes, self._path, learned, bus_ids)
        except BootserveError as error:
            self._log.error("learned shapes not saved", error=str(error))
