"""Joins rollouts to what they work with: what nodes say, who is watched, what reboots them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from bootserve.core.known_good import KnownGood
from bootserve.core.timeline import ActiveBoot
from bootserve.model.boot import Phase
from bootserve.model.rollout import Rollout, Sighting
from bootserve.servers.rollouts.desk import RolloutDesk
from bootserve.servers.rollouts.words import NodeWords
from bootserve.service.wiring import Parts
from bootserve.store.degraded import load_degraded
from bootserve.store.rollouts import RolloutStore
from bootserve.store.ups import last_ups

__all__ = ["make_rollouts", "recall_rollouts"]


def make_rollouts(parts: Parts, log: Any) -> RolloutDesk:
    """Return the desk of rollouts, not yet running."""
    database, known_good, words = parts.kept.database, parts.guards.known_good, parts.words

    async def recall(nodes: Sequence[str]) -> None:
        await parts.filler.flush()  # this may be the first to find the database back
        words.restore(await parts.sql.run(last_ups, database, nodes))

    def retried(nodes: Iterable[str], by: str) -> None:
        for node in nodes:
            known_good.release(node, by)

    return RolloutDesk(
        RolloutStore(database),
        parts.sql,
        parts.committer,
        parts.current,
        partial(_sightings, words, known_good.known_good),
        recall,
        parts.rebooting.rollouts,
        log,
        seconds=parts.settings.rollout_seconds,
        changed=partial(_watch, known_good.known_good),
        retried=retried,
    )


def _sightings(
    words: NodeWords, known_good: KnownGood, nodes: Iterable[str]
) -> dict[str, Sighting]:
    found, now = {}, time.time()
    for node in nodes:
        seen = known_good.marked(node, words.of(node), now)
        if seen is not None:
            found[node] = seen
    return found


def _watch(known_good: KnownGood, rollouts: Iterable[Rollout]) -> None:
    known_good.watch({node for one in rollouts for node in one.members})


async def recall_rollouts(parts: Parts, boots: Iterable[ActiveBoot]) -> None:
    """Take in where rollouts were, who was degraded, and ``boots``, the oldest first."""
    known_good = parts.guards.known_good
    known_good.restore(
        await parts.sql.run(load_degraded, parts.kept.database), parts.current.snapshot
    )
    await parts.rollouts.load()
    for active in boots:
        known_good.minted(active.boot)
        if Phase.UP in active.phases:
            known_good.known_good.came_up(active.boot.node)
        for phase in active.phases:
            known_good.seen(active.boot.node, active.boot.id, phase)
