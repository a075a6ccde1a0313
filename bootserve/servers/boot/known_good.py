"""Nodes on their last known good generation: chosen, on record, and released."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from bootserve.core.heartbeats import Running
from bootserve.core.known_good import KnownGood
from bootserve.core.snapshot import NodePlan, Snapshot
from bootserve.model.boot import Boot, Phase
from bootserve.model.degraded import Degraded
from bootserve.model.generation import GenerationRef
from bootserve.store.journal import Journal
from bootserve.store.records import DegradedRecord, JournalRecord, PhaseRecord

__all__ = ["KnownGoodDesk"]

ROOTED = frozenset({Phase.ROOT, Phase.VERIFIED, Phase.MOUNTED})
"""What shows that a boot has its root, seen here or said by the node."""


class KnownGoodDesk:
    """What the boot plane asks and tells of last known good generations.

    ``journal`` gets a record when a node is degraded and when that ends; ``appended`` is called
    after each. ``log`` is a structlog logger. ``suspects`` are whom :meth:`choose` is for.
    """

    def __init__(
        self, known_good: KnownGood, journal: Journal, log: Any, appended: Callable[[], None]
    ) -> None:
        self.known_good = known_good
        self.suspects = known_good.suspects
        self.minted = known_good.minted
        self._journal = journal
        self._log = log
        self._appended = appended

    def restore(self, degraded: Iterable[Degraded], snapshot: Snapshot) -> None:
        """Take in who was degraded before a restart, by ``snapshot`` if that is still so."""
        self.known_good.restore(degraded)
        self.published(snapshot)

    def of(self, node: str) -> Degraded | None:
        """Return what ``node`` is degraded by, or None."""
        return self.known_good.degraded.get(node)

    def choose(self, snapshot: Snapshot, plan: NodePlan) -> tuple[NodePlan, Degraded | None]:
        """Return what a suspect gets: its plan, or its last known good generation and by what."""
        chosen, mark, _ = self.known_good.plan(
            plan, snapshot.generations, lambda name: _rack(snapshot, name), time.time()
        )
        return chosen, mark

    def given(self, mark: Degraded, boot: Boot) -> None:
        """Record that ``boot`` was minted by ``mark``."""
        detail = f"last known good in place of {mark.instead_of}: {mark.reason}"
        records: list[JournalRecord] = [
            PhaseRecord(boot.id, Phase.SCRIPT.value, boot.minted_at, detail)
        ]
        if not mark.boot:
            mark = replace(mark, boot=boot.id)
            self.known_good.degrade(mark)
            records.append(_record(mark))
        self._journal.append_all(records)
        self._appended()
        self._log.warning(
            "degraded", node=boot.node, generation=str(boot.generation), detail=detail, boot=boot.id
        )

    def seen(self, node: str, boot: str, phase: Phase, detail: str = "") -> None:
        """Note a phase of a boot, seen here or said by the node."""
        if phase in ROOTED:
            self.known_good.rooted(node, boot)
        elif phase is Phase.FAILED:
            self.known_good.failed(node, detail)

    def spoke(self, running: Running, now: float) -> None:
        """Note a node's word that it is up with the root that its boot names."""
        if running.root != running.expected_root:
            return
        mark = self.known_good.spoke(running.node, running.boot, running.generation, now)
        if mark is not None:
            self._ended(mark, "the node says that it is up")

    def release(self, node: str, by: str) -> Degraded | None:
        """Let ``node`` have its pin's generation again; return what it was degraded by."""
        mark = self.known_good.release(node)
        if mark is not None:
            self._ended(mark, by)
        return mark

    def published(self, snapshot: Snapshot) -> None:
        """Release who is no longer pinned to what it failed with, or whose other one is barred."""
        if self.known_good.degraded:
            over = self.known_good.resolved(
                lambda node: _wanted(snapshot, node), snapshot.generations
            )
            for mark, barred in over:
                self._ended(mark, barred or f"revision {snapshot.revision.number}")

    def _ended(self, mark: Degraded, by: str) -> None:
        self._journal.append(_record(mark, ended_at=time.time(), by=by[:200]))
        self._appended()
        self._log.info("no longer degraded", node=mark.node, by=by)


def _rack(snapshot: Snapshot, name: str) -> str:
    node = snapshot.state.nodes.get(name)
    return node.rack if node else ""


def _wanted(snapshot: Snapshot, name: str) -> GenerationRef | None:
    plan = snapshot.plans.get(name)
    generation = plan.resolution.generation if plan else None
    return generation.ref if generation else None


def _record(mark: Degraded, *, ended_at: float = 0.0, by: str = "") -> DegradedRecord:
    return DegradedRecord(
        node=mark.node,
        at=ended_at or mark.since,
        since=mark.since,
        generation=str(mark.generation),
        instead_of=str(mark.instead_of),
        reason=mark.reason,
        boot=mark.boot,
        ended=by,
    )
