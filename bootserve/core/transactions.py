"""Changes to the desired state: each takes a state and returns the next one, or refuses.

Nothing here writes: a commit is a change, a check of the snapshot it leads to, and one
transaction of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from bootserve.core.nbps import (
    Nbps,
    check_nbp_pins,
    restorable_nbp_pins,
    unrestorable_nbp_pins,
)
from bootserve.core.resolve import Generations, image_of, scopes_of, usable
from bootserve.core.snapshot import Snapshot
from bootserve.errors import Conflict, NotFound, Refused
from bootserve.model.desired import (
    DesiredState,
    Node,
    Pin,
    PinKey,
    Rack,
    Role,
    Scope,
    ScopeKind,
)
from bootserve.model.generation import Generation, GenerationRef

__all__ = [
    "Change",
    "add_node",
    "check_commit",
    "pin",
    "remove_node",
    "remove_role",
    "restore",
    "set_node",
    "set_rack",
    "set_role",
    "unpin",
    "unrestorable",
    "warnings_of",
]

K = TypeVar("K")
V = TypeVar("V")

Change = Callable[[DesiredState], DesiredState]
"""A change waiting to be applied to whatever state is current when it is committed."""


def _with(mapping: Mapping[K, V], key: K, value: V) -> dict[K, V]:
    return {**mapping, key: value}


def _without(mapping: Mapping[K, V], key: K) -> dict[K, V]:
    return {k: v for k, v in mapping.items() if k != key}


def _check_macs(state: DesiredState, node: Node) -> None:
    wanted = set(node.macs)
    if not wanted:
        raise Refused(f"node {node.name} needs at least one MAC address")
    for other in state.nodes.values():
        if other.name != node.name and not wanted.isdisjoint(other.macs):
            shared = ", ".join(sorted(wanted.intersection(other.macs)))
            raise Conflict(f"{shared} already belongs to node {other.name}")


def add_node(node: Node) -> Change:
    """A change that adds ``node``; Conflict when its name or one of its MACs is taken."""

    def change(state: DesiredState) -> DesiredState:
        if node.name in state.nodes:
            raise Conflict(
                f"there is already a node {node.name}", hint="Change it with 'bootserve node set'."
            )
        _check_macs(state, node)
        return replace(state, nodes=_with(state.nodes, node.name, node))

    return change


def set_node(name: str, update: Callable[[Node], Node]) -> Change:
    """A change that replaces node ``name`` by ``update`` of it; NotFound when there is none."""

    def change(state: DesiredState) -> DesiredState:
        node = update(_get(state.nodes, name, "node"))
        _check_macs(state, node)
        return replace(state, nodes=_with(state.nodes, name, node))

    return change


def remove_node(name: str) -> Change:
    """A change that removes node ``name`` and the pins set on it."""

    def change(state: DesiredState) -> DesiredState:
        _get(state.nodes, name, "node")
        scope = Scope(ScopeKind.NODE, name)
        pins = {key: pin for key, pin in state.pins.items() if key.scope != scope}
        nbp_pins = {key: pin for key, pin in state.nbp_pins.items() if key.scope != scope}
        nodes = _without(state.nodes, name)
        return replace(state, nodes=nodes, pins=pins, nbp_pins=nbp_pins)

    return change


def set_role(role: Role) -> Change:
    """A change that creates or replaces ``role``."""
    return lambda state: replace(state, roles=_with(state.roles, role.name, role))


def remove_role(name: str) -> Change:
    """A change that removes role ``name``; Conflict while a node has it."""

    def change(state: DesiredState) -> DesiredState:
        _get(state.roles, name, "role")
        holders = [node.name for node in state.nodes.values() if node.role == name]
        if holders:
            raise Conflict(f"role {name} is the role of {_some(holders)}")
        return replace(state, roles=_without(state.roles, name))

    return change


def set_rack(rack: Rack) -> Change:
    """A change that creates or replaces the settings of ``rack``."""
    return lambda state: replace(state, racks=_with(state.racks, rack.name, rack))


def pin(new: Pin, *, change_role: str = "") -> Change:
    """A change that sets ``new``, in place of the scope's pin of the same image.

    ``change_role`` gives the node of a node pin that role in the same revision. Raises NotFound
    for a node or role that does not exist, Refused when a node pin names another image than the
    node's.
    """

    def change(state: DesiredState) -> DesiredState:
        if change_role:
            state = _change_role(state, new.scope, change_role)
        _check_scope(state, new.scope)
        if new.scope.kind is ScopeKind.NODE:
            node = state.nodes[new.scope.name]
            image = image_of(state, node)
            if image != new.generation.image:
                raise Refused(
                    f"node {node.name} runs image {image or '(none)'}, not {new.generation.image}",
                    hint="Pass --change-role ROLE, or set an image override with"
                    f" 'bootserve node set {node.name} --image {new.generation.image}'.",
                )
        return replace(state, pins=_with(state.pins, new.key, new))

    return change


def _change_role(state: DesiredState, scope: Scope, role: str) -> DesiredState:
    if scope.kind is not ScopeKind.NODE:
        raise Refused("--change-role goes with a node pin only")
    _get(state.roles, role, "role")
    node = replace(_get(state.nodes, scope.name, "node"), role=role, image="")
    return replace(state, nodes=_with(state.nodes, node.name, node))


def _check_scope(state: DesiredState, scope: Scope) -> None:
    if scope.kind is ScopeKind.NODE:
        _get(state.nodes, scope.name, "node")
    elif scope.kind is ScopeKind.ROLE:
        _get(state.roles, scope.name, "role")


def unpin(scope: Scope, image: str = "") -> Change:
    """A change that removes the pin of ``image`` at ``scope``, or its only pin.

    Raises NotFound when there is none and Conflict when ``image`` is needed to tell several apart.
    """

    def change(state: DesiredState) -> DesiredState:
        found = [key for key in state.pins if key.scope == scope and image in ("", key.image)]
        if not found:
            raise NotFound(f"there is no pin of {image or 'any image'} on {scope}")
        if len(found) > 1:
            images = ", ".join(sorted(key.image for key in found))
            raise Conflict(f"{scope} has pins of {images}", hint="Name the image.")
        return replace(state, pins=_without(state.pins, found[0]))

    return change


def restore(
    old: DesiredState,
    generations: Generations,
    *,
    everything: bool,
    nbps: Nbps | None = None,
) -> Change:
    """A change back to the pins of ``old``, or with ``everything`` to its nodes and roles too.

    Pins whose node, role, generation or NBP (``nbps`` has those that are known) is no longer there
    are left out; :func:`unrestorable` lists them.
    """

    def change(state: DesiredState) -> DesiredState:
        target = old if everything else state
        pins = {
            key: one
            for key, one in old.pins.items()
            if _scope_exists(target, key.scope) and _available(one.generation, generations)
        }
        return replace(target, pins=pins, nbp_pins=restorable_nbp_pins(old, target, nbps or {}))

    return change


def unrestorable(
    current: DesiredState,
    old: DesiredState,
    generations: Generations,
    *,
    everything: bool,
    nbps: Nbps | None = None,
) -> list[str]:
    """Return, in words, what :func:`restore` cannot bring back; empty when all of it can."""
    target = old if everything else current
    problems = []
    for key, one in sorted(old.pins.items()):
        if not _scope_exists(target, key.scope):
            problems.append(f"pin {key.scope} {one.generation}: {key.scope} no longer exists")
        elif not _available(one.generation, generations):
            found = generations.get(one.generation)
            problems.append(f"pin {key.scope} {one.generation}: the generation {_lost(found)}")
    return problems + unrestorable_nbp_pins(old, target, nbps or {})


def _lost(found: Generation | None) -> str:
    if found is not None and found.damaged:
        return "is damaged"
    return "was revoked" if found is not None and found.revoked else "was removed"


def _available(ref: GenerationRef, generations: Generations) -> bool:
    found = generations.get(ref)
    return found is not None and not found.barred


def _scope_exists(state: DesiredState, scope: Scope) -> bool:
    if scope.kind is ScopeKind.NODE:
        return scope.name in state.nodes
    if scope.kind is ScopeKind.ROLE:
        return scope.name in state.roles
    return True


def check_commit(before: Snapshot, after: Snapshot) -> None:
    """Raise Refused when ``after`` makes a node's pin impossible to follow.

    This covers a generation that is unknown, revoked or removed, another architecture and a node
    pin whose image is no longer the node's, whichever change brought it about.
    """
    for key, one in after.state.pins.items():
        if before.state.pins.get(key) != one:
            usable(one.generation, after.generations)
    check_nbp_pins(before.state, after.state, after.nbps)
    known = {plan.node.name for plan in before.unresolvable()}
    broken = [plan for plan in after.unresolvable() if plan.node.name not in known]
    if broken:
        raise Refused(
            f"this would leave {_some([plan.node.name for plan in broken])} unable to boot:"
            f" {broken[0].resolution.reason}"
        )
    for stray in _stray_node_pins(after.state):
        if after.state.pins.get(stray.key) != before.state.pins.get(stray.key) or _changed(
            before, after, stray.scope.name
        ):
            node = after.state.nodes[stray.scope.name]
            raise Refused(
                f"pin {stray.scope} {stray.generation} would name another image than the node's"
                f" ({image_of(after.state, node) or 'none'})",
                hint=f"Remove it first: bootserve unpin {stray.scope} -m WHY.",
            )


def _changed(before: Snapshot, after: Snapshot, name: str) -> bool:
    old, new = before.state.nodes.get(name), after.state.nodes[name]
    return old is None or image_of(before.state, old) != image_of(after.state, new)


def _stray_node_pins(state: DesiredState) -> list[Pin]:
    return [
        one
        for key, one in state.pins.items()
        if key.scope.kind is ScopeKind.NODE
        and key.scope.name in state.nodes
        and image_of(state, state.nodes[key.scope.name]) != key.image
    ]


def warnings_of(before: DesiredState, after: DesiredState) -> list[str]:
    """Return warnings about the change: pins set by it that apply to no node."""
    new = [key for key, one in after.pins.items() if before.pins.get(key) != one]
    if not new:
        return []
    alike = {(node.rack, node.role, node.image): node for node in after.nodes.values()}
    of_nodes = [
        after.nodes[key.scope.name]
        for key in new
        if key.scope.kind is ScopeKind.NODE and key.scope.name in after.nodes
    ]
    applied = {
        PinKey(scope, image_of(after, node))
        for node in (*alike.values(), *of_nodes)
        for scope in scopes_of(node)
    }
    return [
        f"pin {key.scope} {after.pins[key].generation} applies to no node"
        for key in sorted(new)
        if key not in applied
    ]


def _get(mapping: Mapping[str, V], name: str, what: str) -> V:
    try:
        return mapping[name]
    except KeyError:
        raise NotFound(f"there is no {what} {name}", hint=f"See 'bootserve {what} list'.") from None


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
