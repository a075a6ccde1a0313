"""What a one-shot action makes of a node's plan, for one boot."""

from __future__ import annotations

from dataclasses import replace

from bootserve.core.resolve import Action, Generations, Resolution
from bootserve.core.snapshot import NodePlan
from bootserve.errors import BootserveError
from bootserve.model.generation import GenerationRef
from bootserve.model.once import BootOnce, OnceAction

__all__ = ["once_plan"]


def once_plan(plan: NodePlan, once: BootOnce, generations: Generations) -> NodePlan:
    """Return ``plan`` with ``once`` in place of what its pins come to.

    An action whose generation cannot be booted by the node makes it unresolvable: the node is not
    given its pinned generation in its place. A script is OnceAction.SCRIPT's own and resolves to
    nothing here. Never raises.
    """
    if once.action is OnceAction.LOCAL:
        return replace(plan, resolution=Resolution(Action.LOCAL, _set_by(once)))
    if once.action is OnceAction.SCRIPT:
        return replace(plan, resolution=Resolution(Action.HOLD, _set_by(once)))
    return replace(plan, resolution=_generation(plan, once, generations))


def _set_by(once: BootOnce) -> str:
    return f"boot once {once}, set by {once.set_by}"


def _generation(plan: NodePlan, once: BootOnce, generations: Generations) -> Resolution:
    try:
        generation = generations.get(GenerationRef.parse(once.generation))
    except BootserveError:
        generation = None
    if generation is None:
        problem = f"boot once names {once.generation}, which does not exist"
    elif generation.barred:
        problem = f"boot once names {once.generation}, {generation.barred}"
    elif generation.manifest.arch is not plan.node.arch:
        problem = (
            f"boot once names {once.generation}, built for {generation.manifest.arch},"
            f" and the node is {plan.node.arch}"
        )
    else:
        return Resolution(Action.BOOT, _set_by(once), generation=generation)
    return Resolution(Action.UNRESOLVABLE, problem)
