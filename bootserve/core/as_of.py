"""What was pinned and what was running at a time, and who had last changed it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bootserve.core.resolve import Generations, Resolution, image_of, resolve, scopes_of
from bootserve.model.boot import Boot
from bootserve.model.desired import DesiredState, Node, Revision

__all__ = ["Past", "RunningThen", "Then", "as_of"]

Touched = Mapping[tuple[str, ...], int]
"""Of each row's table and key: the latest revision that began or ended a row of it."""


@dataclass(frozen=True, slots=True)
class RunningThen:
    """A node's newest boot at the time, and what the node had said of it by then.

    ``up_at`` (epoch seconds) is None until it had reported up; ``generation`` and ``root`` are what
    it reported to run, empty until then.
    """

    boot: Boot
    up_at: float | None = None
    generation: str = ""
    root: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """One moment: its revision, state and generations, and what had come before it."""

    revision: Revision
    state: DesiredState
    generations: Generations
    touched: Touched
    revisions: Mapping[int, Revision]
    running: Mapping[str, RunningThen]


@dataclass(frozen=True, slots=True)
class Then:
    """One node at the time: what was pinned for it, who had last changed that, what it ran."""

    node: Node
    resolution: Resolution
    changed: Revision | None
    running: RunningThen | None


def as_of(past: Past, nodes: Iterable[Node]) -> Iterator[Then]:
    """Yield each of ``nodes`` as it was.

    Changed is what the latest revision did to the node itself, its role, its rack, or a pin of its
    image in one of its scopes, a removed one too.
    """
    for node in nodes:
        number = max((past.touched.get(key, 0) for key in _keys(past.state, node)), default=0)
        yield Then(
            node,
            resolve(past.state, node, past.generations),
            past.revisions.get(number),
            past.running.get(node.name),
        )


def _keys(state: DesiredState, node: Node) -> Iterator[tuple[str, ...]]:
    """Yield the table and key of every row that decides what ``node`` boots."""
    yield "node", node.name
    if node.role:
        yield "role", node.role
    if node.rack:
        yield "rack", node.rack
    image = image_of(state, node)
    for scope in scopes_of(node):
        yield "pin", str(scope.kind), scope.name, image
