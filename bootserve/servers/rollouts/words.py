"""What nodes last said of themselves, from the book of heartbeats and from before a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from bootserve.core.heartbeats import HeartbeatBook, Running
from bootserve.core.resolve import Generations
from bootserve.model.generation import GenerationRef
from bootserve.model.rollout import Sighting

__all__ = ["NodeWords"]


class NodeWords:
    """Answers what a node last said; the newest boot that it spoke by counts.

    ``generations`` returns those that there are.
    """

    def __init__(self, book: HeartbeatBook, generations: Callable[[], Generations]) -> None:
        self._book = book
        self._generations = generations
        self._before: dict[str, Sighting] = {}

    def restore(self, known: Mapping[str, Sighting]) -> None:
        """Take in with which boots nodes had reported up, as the database knows."""
        self._before.update(known)

    def good(self, node: str) -> GenerationRef | None:
        """Return the last generation that ``node`` reported up with, its own root and all."""
        running = self._book.of(node)
        if running is not None and running.root == running.expected_root:
            return running.generation
        before = self._before.get(node)
        if before is None or before.generation is None:
            return None
        known = self._generations().get(before.generation)
        own = known is not None and before.root == known.manifest.artifacts["root"].sha256
        return before.generation if own else None

    def of(self, node: str) -> Sighting | None:
        """Return what ``node`` last said, or None when it never spoke."""
        running, before = self._book.of(node), self._before.get(node)
        if running is None or (before and before.boot > running.boot):
            return before
        seen = _sighting(running)
        if before and before.boot == seen.boot:
            return replace(seen, up_at=min(before.up_at, seen.up_at))
        return seen


def _sighting(running: Running) -> Sighting:
    return Sighting(
        boot=running.boot,
        minted_at=int(running.boot[:12], 16) / 1000,  # as ScriptDesk makes a boot's id
        generation=running.generation,
        up_at=running.up_since,
        root=running.root,
        heard_at=running.last_seen,
        agent=running.agent,
        silent=running.silent,
    )
