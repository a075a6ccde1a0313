"""Which nodes would boot something else than they run, if they rebooted now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bootserve.core.resolve import Action
from bootserve.core.site.effects import outcome_of
from bootserve.core.snapshot import NodePlan
from bootserve.model.desired import Node, Scope, ScopeKind
from bootserve.model.generation import GenerationRef
from bootserve.model.once import BootOnce

__all__ = ["Why", "WouldChange", "in_scope", "would_change"]


class Why(StrEnum):
    """Why a node's next boot is not what it runs."""

    ONCE = "once"
    GENERATION = "generation"
    ARGUMENTS = "arguments"


@dataclass(frozen=True, slots=True)
class WouldChange:
    """A node, the generation it runs (``IMAGE@N``), what it would boot, and why that differs."""

    node: str
    rack: str
    running: str
    next: str
    why: Why


def would_change(
    plan: NodePlan,
    running: GenerationRef,
    digest: str,
    arguments: str | None,
    once: BootOnce | None,
) -> WouldChange | None:
    """Return how the node's next boot differs from what it runs; None when it does not.

    ``running`` and its ``digest`` are of the newest boot that reported up, ``arguments`` the
    kernel arguments of node, rack and role that it was given, None when they are not known.
    """
    node, resolution = plan.node, plan.resolution
    planned = resolution.generation
    if once is not None:
        what = once.generation or once.action.value
        return WouldChange(node.name, node.rack, str(running), what, Why.ONCE)
    boots = resolution.action is Action.BOOT and planned is not None
    if not boots or planned is None or planned.digest != digest:
        will = outcome_of(resolution)
        return WouldChange(node.name, node.rack, str(running), will, Why.GENERATION)
    if arguments is not None and arguments != plan.kernel_args:
        return WouldChange(node.name, node.rack, str(running), str(planned.ref), Why.ARGUMENTS)
    return None


def in_scope(node: Node, scope: Scope) -> bool:
    """Whether ``node`` is in ``scope``."""
    match scope.kind:
        case ScopeKind.NODE:
            return node.name == scope.name
        case ScopeKind.RACK:
            return node.rack == scope.name
        case ScopeKind.ROLE:
            return node.role == scope.name
        case ScopeKind.SITE:
            return True
