"""What a change of the desired state does to nodes, in terms of nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bootserve.core.nbps import nbps_of
from bootserve.core.resolve import Action, Resolution, image_of, scopes_of
from bootserve.core.snapshot import NodePlan, Snapshot
from bootserve.model.desired import Node, PinKey, Scope, ScopeKind

__all__ = ["Effect", "EffectKind", "effects_between", "outcome_of", "plan_warnings"]


class EffectKind(StrEnum):
    """What becomes of a node, the most important first."""

    BOOTS = "boots"
    ADDED = "added"
    REMOVED = "removed"
    ARGUMENTS = "arguments"
    NBP = "nbp"
    SETTINGS = "settings"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, order=True)
class Effect:
    """One thing that becomes of some nodes of one rack.

    ``boots``: what they boot goes from ``before`` to ``after`` (``IMAGE@N``, or in words why
    nothing). ``added`` and ``removed``: with what they boot. ``arguments``: the same generation
    with other kernel arguments. ``nbp``: another boot program. ``settings``: fields that change
    nothing of a boot, named in ``after``. ``unchanged``: a pin of ``before`` (an image) changes for
    them and does not count, because of ``after`` (``a node pin``).
    """

    kind: EffectKind
    rack: str
    before: str
    after: str
    nodes: tuple[str, ...]


Key = tuple[EffectKind, str, str, str]


def outcome_of(resolution: Resolution) -> str:
    """Return what a resolution makes a node boot: ``IMAGE@N``, or in words why nothing."""
    match resolution.action:
        case Action.BOOT:
            return str(resolution.generation.ref) if resolution.generation else ""
        case Action.LOCAL:
            return "the local disk"
        case Action.HOLD:
            return "nothing: they hold"
        case Action.UNRESOLVABLE:
            return "nothing: their pin cannot be followed"


def effects_between(before: Snapshot, after: Snapshot) -> list[Effect]:
    """Return what becomes of every node, when ``before`` gives way to ``after``.

    A node is in one effect at most: the first of EffectKind that is true of it.
    """
    found: dict[Key, list[str]] = defaultdict(list)
    shields = _Shields(before, after)
    for name, node in after.state.nodes.items():
        old = before.state.nodes.get(name)
        plan = after.plan_of(node)
        if old is None:
            outcome = outcome_of(plan.resolution)
            found[EffectKind.ADDED, node.rack, "", outcome].append(name)
            continue
        for key in _changes(before, after, before.plan_of(old), plan, shields):
            found[key].append(name)
            break
    for name, node in before.state.nodes.items():
        if name not in after.state.nodes:
            outcome = outcome_of(before.plan_of(node).resolution)
            found[EffectKind.REMOVED, node.rack, outcome, ""].append(name)
    order = list(EffectKind)
    made = [Effect(*key, tuple(sorted(names))) for key, names in found.items()]
    return sorted(made, key=lambda one: (order.index(one.kind), one.rack, one.before, one.after))


def _changes(
    before: Snapshot, after: Snapshot, old: NodePlan, new: NodePlan, shields: _Shields
) -> Iterator[Key]:
    rack = new.node.rack
    was, will = outcome_of(old.resolution), outcome_of(new.resolution)
    if was != will:
        yield EffectKind.BOOTS, rack, was, will
    if old.kernel_args != new.kernel_args:
        yield EffectKind.ARGUMENTS, rack, was, will
    if _nbp(before, old.node) != _nbp(after, new.node):
        yield EffectKind.NBP, rack, _nbp(before, old.node), _nbp(after, new.node)
    if old.node is not new.node and old.node != new.node:
        yield EffectKind.SETTINGS, rack, "", _different(old.node, new.node)
    if shield := shields.over(new):
        yield EffectKind.UNCHANGED, rack, shield[0], shield[1]


def _nbp(snapshot: Snapshot, node: Node) -> str:
    pinned = (
        f"{one.pin.nbp} ({one.pin.arch})" for one in nbps_of(snapshot.state, node, snapshot.nbps)
    )
    parts = [*pinned, node.nbp, "" if node.shape.fixed is None else f"shape {node.shape}"]
    return ", ".join(part for part in parts if part) or "the default"


def _different(old: Node, new: Node) -> str:
    names = ("macs", "rack", "role", "arch", "image", "kernel_args", "boot", "labels")
    return ", ".join(name for name in names if getattr(old, name) != getattr(new, name))


class _Shields:
    """Finds the nodes that a changed pin would reach, were it not for a more specific one."""

    def __init__(self, before: Snapshot, after: Snapshot) -> None:
        old, new = before.state.pins, after.state.pins
        self._state = after.state
        self._changed: dict[PinKey, None] = dict.fromkeys(
            key for key in old.keys() | new.keys() if old.get(key) != new.get(key)
        )
        self._images = {key.image for key in self._changed}

    def over(self, plan: NodePlan) -> tuple[str, str] | None:
        """Return the image whose pin changes above the node, and which kind of pin counts."""
        pin = plan.resolution.pin
        if pin is None or pin.generation.image not in self._images:
            return None
        image = image_of(self._state, plan.node)
        reached = False
        for scope in scopes_of(plan.node):
            if reached and PinKey(scope, image) in self._changed:
                return image, _pin_words(pin.scope)
            reached = reached or scope == pin.scope
        return None


def _pin_words(scope: Scope) -> str:
    return "the site's pin" if scope.kind is ScopeKind.SITE else f"a {scope.kind} pin"


def plan_warnings(before: Snapshot, after: Snapshot) -> list[str]:
    """Return what is allowed and probably meant otherwise: roles that nodes or pins only name."""
    roles = after.state.roles
    missing: Mapping[str, list[str]] = _nodes_by_missing_role(after)
    found = [
        f"{_count(names)} {'has' if len(names) == 1 else 'have'} role {role}, which does not exist"
        for role, names in sorted(missing.items())
        if any(before.state.nodes.get(name) != after.state.nodes[name] for name in names)
        or role in before.state.roles
    ]
    for key in sorted(after.state.pins):
        new = before.state.pins.get(key) != after.state.pins[key]
        if new and key.scope.kind is ScopeKind.ROLE and key.scope.name not in roles:
            found.append(f"pin {key.scope} {after.state.pins[key].generation}: no such role exists")
    return found


def _nodes_by_missing_role(after: Snapshot) -> dict[str, list[str]]:
    roles = after.state.roles
    found: dict[str, list[str]] = defaultdict(list)
    for name, node in after.state.nodes.items():
        if node.role and node.role not in roles:
            found[node.role].append(name)
    return found


def _count(names: Iterable[str]) -> str:
    found = list(names)
    return f"node {found[0]}" if len(found) == 1 else f"{len(found)} nodes"
