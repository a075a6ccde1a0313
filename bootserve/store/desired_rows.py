"""The desired state as table rows, and rows as the desired state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any

from sqlalchemy import Table

from bootserve.model.desired import (
    BootFrom,
    DesiredState,
    NbpPin,
    Node,
    Pin,
    Rack,
    Role,
    Scope,
    ScopeKind,
)
from bootserve.model.generation import GenerationRef
from bootserve.model.names import Arch, Mac
from bootserve.model.nbp import NbpArch
from bootserve.model.shape import ShapeSetting
from bootserve.store import tables

__all__ = ["TEMPORAL", "Temporal", "Value", "changed_rows", "state_from_rows"]

Value = str | int
Rows = Iterable[Any]
"""Rows of one table, each a sequence of its values."""


@dataclass(frozen=True, slots=True)
class Temporal:
    """A temporal table: its key, its columns, and how the state's objects become rows.

    ``columns`` begins with ``key``; ``of`` returns the mapping of the state that is kept here, and
    ``rows`` the rows of one object in it.
    """

    table: Table
    key: tuple[str, ...]
    columns: tuple[str, ...]
    of: Callable[[DesiredState], Mapping[Any, Any]]
    rows: Callable[[Any], Iterable[tuple[Value, ...]]]


def _node_rows(node: Node) -> Iterator[tuple[Value, ...]]:
    labels = json.dumps(node.labels, separators=(",", ":"))
    yield (
        node.name,
        node.rack,
        node.role,
        str(node.arch),
        node.image,
        node.kernel_args,
        str(node.boot),
        node.nbp,
        labels,
        str(node.shape),
    )


def _mac_rows(node: Node) -> Iterator[tuple[Value, ...]]:
    for position, mac in enumerate(node.macs):
        yield mac, node.name, position


def _role_rows(role: Role) -> Iterator[tuple[Value, ...]]:
    yield role.name, role.image, role.kernel_args


def _rack_rows(rack: Rack) -> Iterator[tuple[Value, ...]]:
    yield rack.name, rack.kernel_args


def _pin_rows(pin: Pin) -> Iterator[tuple[Value, ...]]:
    yield str(pin.scope.kind), pin.scope.name, pin.generation.image, pin.generation.number


def _nbp_pin_rows(pin: NbpPin) -> Iterator[tuple[Value, ...]]:
    yield str(pin.scope.kind), pin.scope.name, str(pin.arch), pin.nbp


TEMPORAL: tuple[Temporal, ...] = (
    Temporal(
        tables.node,
        ("name",),
        ("name", "rack", "role", "arch", "image", "kernel_args", "boot", "nbp", "labels", "shape"),
        lambda state: state.nodes,
        _node_rows,
    ),
    Temporal(
        tables.node_mac,
        ("mac",),
        ("mac", "node", "position"),
        lambda state: state.nodes,
        _mac_rows,
    ),
    Temporal(
        tables.role,
        ("name",),
        ("name", "image", "kernel_args"),
        lambda state: state.roles,
        _role_rows,
    ),
    Temporal(
        tables.rack, ("name",), ("name", "kernel_args"), lambda state: state.racks, _rack_rows
    ),
    Temporal(
        tables.pin,
        ("scope_kind", "scope_name", "image"),
        ("scope_kind", "scope_name", "image", "number"),
        lambda state: state.pins,
        _pin_rows,
    ),
    Temporal(
        tables.nbp_pin,
        ("scope_kind", "scope_name", "arch"),
        ("scope_kind", "scope_name", "arch", "nbp"),
        lambda state: state.nbp_pins,
        _nbp_pin_rows,
    ),
)


def changed_rows(
    temporal: Temporal, old: DesiredState, new: DesiredState
) -> tuple[list[tuple[Value, ...]], list[tuple[Value, ...]]]:
    """Return the rows of ``old`` that end and the rows of ``new`` that begin, both sorted.

    An object that is the same in both costs one comparison by identity.
    """
    before, after = temporal.of(old), temporal.of(new)
    if before is after:
        return [], []
    ended: list[tuple[Value, ...]] = []
    begun: list[tuple[Value, ...]] = []
    for key, item in before.items():
        if after.get(key) is not item and after.get(key) != item:
            ended.extend(temporal.rows(item))
    for key, item in after.items():
        if before.get(key) is not item and before.get(key) != item:
            begun.extend(temporal.rows(item))
    kept = set(ended) & set(begun)
    return (
        sorted(row for row in ended if row not in kept),
        sorted(row for row in begun if row not in kept),
    )


def _macs_by_node(rows: Rows) -> dict[str, list[Mac]]:
    found: dict[str, list[Mac]] = {}
    for mac, node, _ in sorted(rows, key=lambda row: row[2]):
        found.setdefault(node, []).append(mac)
    return found


def _nodes(rows: Rows, mac_rows: Rows) -> dict[str, Node]:
    macs = _macs_by_node(mac_rows)
    arches, boots = Arch.__members__.values(), BootFrom.__members__.values()
    arch_of, boot_of = {str(a): a for a in arches}, {str(b): b for b in boots}
    # a file saved before there were shapes has rows without one
    shape_of = {str(s): s for s in ShapeSetting}
    nodes = {}
    for name, rack, role, arch, image, kernel_args, boot, nbp, labels, *rest in sorted(rows):
        nodes[name] = Node(
            name=name,
            macs=tuple(macs.get(name, ())),
            rack=intern(rack),
            role=intern(role),
            arch=arch_of[arch],
            image=intern(image),
            kernel_args=intern(kernel_args),
            boot=boot_of[boot],
            nbp=intern(nbp),
            labels=() if labels == "[]" else tuple((k, v) for k, v in json.loads(labels)),
            shape=shape_of[rest[0] if rest else "auto"],
        )
    return nodes


def state_from_rows(rows: Mapping[str, Rows]) -> DesiredState:
    """Return the state that ``rows`` (by table, in the columns of TEMPORAL) describes."""
    pins = (
        Pin(Scope(ScopeKind(kind), name), GenerationRef(image, number))
        for kind, name, image, number in sorted(rows["pin"])
    )
    nbp_pins = (
        NbpPin(Scope(ScopeKind(kind), name), NbpArch(arch), nbp)
        for kind, name, arch, nbp in sorted(rows.get("nbp_pin", ()))
    )
    return DesiredState(
        nodes=_nodes(rows["node"], rows["node_mac"]),
        roles={row[0]: Role(*row) for row in sorted(rows["role"])},
        racks={row[0]: Rack(*row) for row in sorted(rows["rack"])},
        pins={pin.key: pin for pin in pins},
        nbp_pins={pin.key: pin for pin in nbp_pins},
    )
