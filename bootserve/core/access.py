"""Whether a subject may do what it asks for: pure functions of its bindings and the state.

A **place** is the set of scopes that something lies in: a node in the site, its rack and its role.
A binding reaches a place when its scope is one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bootserve.errors import Refused
from bootserve.model.access import AccessRole, Subject
from bootserve.model.desired import DesiredState, Node, Scope, ScopeKind

__all__ = [
    "AIMED_LABELS",
    "SITE_PLACE",
    "Place",
    "check_change",
    "covers",
    "has_role",
    "place_of_node",
    "place_of_scope",
    "require",
    "scopes_of",
]

Place = frozenset[Scope]

_SITE = Scope(ScopeKind.SITE)
SITE_PLACE: Place = frozenset({_SITE})

AIMED_LABELS = frozenset({"bmc", "bmc-system", "k8s-node", "ceph-host", "compute-host"})
"""Labels that say where the server's own credentials go, or which host the shipped hooks act on."""


def place_of_node(node: Node | None) -> Place:
    """Return where ``node`` lies; one that is not there lies in the site alone."""
    if node is None:
        return SITE_PLACE
    found = {_SITE}
    if node.rack:
        found.add(Scope(ScopeKind.RACK, node.rack))
    if node.role:
        found.add(Scope(ScopeKind.ROLE, node.role))
    return frozenset(found)


def place_of_scope(state: DesiredState, scope: Scope) -> Place:
    """Return where what ``scope`` names lies in ``state``: a pin's scope, a rack, a role."""
    if scope.kind is ScopeKind.NODE:
        return place_of_node(state.nodes.get(scope.name))
    return SITE_PLACE | {scope}


def has_role(subject: Subject, role: AccessRole) -> bool:
    """Whether ``subject`` has ``role`` or a higher one anywhere."""
    return any(one.role.includes(role) for one in subject.bindings)


def covers(subject: Subject, role: AccessRole, place: Place) -> bool:
    """Whether ``subject`` has ``role`` or a higher one in ``place``."""
    return any(one.role.includes(role) and one.scope in place for one in subject.bindings)


def scopes_of(subject: Subject, role: AccessRole) -> frozenset[Scope] | None:
    """Return the racks and roles where ``subject`` has ``role`` or a higher one; None: anywhere."""
    found = frozenset(one.scope for one in subject.bindings if one.role.includes(role))
    return None if _SITE in found else found


def require(subject: Subject, role: AccessRole, place: Place) -> None:
    """Raise Refused, naming what is needed and what there is, unless ``subject`` covers ``place``.

    What is needed names the scopes asked for, so nothing that the subject did not say itself.
    """
    if covers(subject, role, place):
        return
    have = ", ".join(str(one) for one in sorted(subject.bindings)) or "nothing"
    raise Refused(
        f"{subject.name} may not do this: it needs the role {role} where it would act, and has"
        f" {have}",
        hint="An admin can widen it: bootserve access grant SUBJECT ROLE SCOPE.",
    )


def check_change(subject: Subject, before: DesiredState, after: DesiredState) -> None:
    """Raise Refused when ``after`` differs from ``before`` where ``subject`` is no operator.

    A node counts with the places it had and has: to move it from one rack to another needs both.
    Which ``AIMED_LABELS`` a node has, only an operator of the site says.
    """
    if covers(subject, AccessRole.OPERATOR, SITE_PLACE):
        return
    nodes = _changed(before.nodes, after.nodes)
    for place in _changed_places(before, after, nodes):
        require(subject, AccessRole.OPERATOR, place)
    for name in nodes:
        labels = _aimed(before.nodes.get(name)) ^ _aimed(after.nodes.get(name))
        if labels and name in after.nodes:
            raise Refused(
                f"{subject.name} may not change the label {min(labels)[0]} of node {name}: it says"
                " where the server's own credentials are used",
                hint="An operator of the site can. Labels that are given replace all of a node's.",
            )


def _aimed(node: Node | None) -> set[tuple[str, str]]:
    return {one for one in node.labels if one[0] in AIMED_LABELS} if node else set()


def _changed_places(
    before: DesiredState, after: DesiredState, nodes: Iterable[str]
) -> Iterable[Place]:
    for name in nodes:
        for state in (before, after):
            if name in state.nodes:
                yield place_of_node(state.nodes[name])
    for kind, old, new in (
        (ScopeKind.ROLE, before.roles, after.roles),
        (ScopeKind.RACK, before.racks, after.racks),
    ):
        for name in _changed(old, new):
            yield SITE_PLACE | {Scope(kind, name)}
    for key in (
        *_changed(before.pins, after.pins),
        *_changed(before.nbp_pins, after.nbp_pins),
    ):
        home = before if key.scope.name in before.nodes else after
        yield place_of_scope(home, key.scope)


def _changed(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> list[Any]:
    if old is new:
        return []
    missing = object()
    return [
        key for key in old.keys() | new.keys() if old.get(key, missing) != new.get(key, missing)
    ]
