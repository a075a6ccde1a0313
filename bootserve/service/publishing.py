"""What follows when a snapshot is put in force."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from bootserve.core.snapshot import Snapshot
from bootserve.model.generation import GenerationRef
from bootserve.service.saver import Saver

__all__ = ["Publisher"]


class Publisher:
    """Called with each new snapshot on the event loop, so what it does must be quick.

    ``forget`` drops what is kept of nodes and MACs that are not in the snapshot; it is called when
    some went. ``then`` is told of every one.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        saver: Saver,
        forget: Callable[[Snapshot], None],
        log: Any,
        then: Callable[[Snapshot], None] = lambda _snapshot: None,
    ) -> None:
        self._last = snapshot.fleet
        self._saver = saver
        self._forget = forget
        self._then = then
        self._log = log
        self._damaged: set[GenerationRef] = set()
        forget(snapshot)
        self._tell_damaged(snapshot)

    def _tell_damaged(self, snapshot: Snapshot) -> None:
        damaged = {one.ref: one.damaged for one in snapshot.damaged()}
        for ref in sorted(damaged.keys() - self._damaged):
            self._log.error("generation damaged", generation=str(ref), detail=damaged[ref])
        self._damaged = set(damaged)

    def __call__(self, snapshot: Snapshot) -> None:
        """Follow up on ``snapshot``, which is in force now."""
        last, self._last = self._last, snapshot.fleet
        if last is not self._last and self._last.lost:
            self._forget(snapshot)
        self._then(snapshot)
        self._tell_damaged(snapshot)
        gc.freeze()  # a snapshot lives long: the collector need not walk it at every turn
        self._saver.publish(snapshot)
        number = snapshot.revision.number
        self._log.info("revision", revision=number, nodes=len(self._last.nodes))
