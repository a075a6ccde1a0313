"""The difference between two desired states, as a document that can be kept and carried out.

A document is what JSON can hold. A node, role or rack in it is a mapping of its fields, those that
have their default left out; null stands for one that is to be removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from bootserve.errors import Conflict, InvalidInput
from bootserve.model.desired import (
    BootFrom,
    DesiredState,
    NbpPin,
    NbpPinKey,
    Node,
    Pin,
    PinKey,
    Rack,
    Role,
    Scope,
    ScopeKind,
)
from bootserve.model.generation import GenerationRef
from bootserve.model.names import (
    Arch,
    check_kernel_args,
    check_labels,
    check_name,
    check_nbp_file,
    parse_mac,
)
from bootserve.model.nbp import NbpArch, check_nbp_name
from bootserve.model.shape import ShapeSetting

__all__ = [
    "NODE_READERS",
    "Changes",
    "changes_between",
    "changes_from_document",
    "node_document",
    "node_from_document",
    "rack_from_document",
    "role_from_document",
]

K = TypeVar("K")
V = TypeVar("V")

MAX_MACS = 64


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of each thing that changes: its new form, or None when it is removed.

    ``nodes``, ``roles`` and ``racks`` are by name.
    """

    nodes: Mapping[str, Node | None] = field(default_factory=dict)
    roles: Mapping[str, Role | None] = field(default_factory=dict)
    racks: Mapping[str, Rack | None] = field(default_factory=dict)
    pins: Mapping[PinKey, Pin | None] = field(default_factory=dict)
    nbp_pins: Mapping[NbpPinKey, NbpPin | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any((self.nodes, self.roles, self.racks, self.pins, self.nbp_pins))

    def apply(self, state: DesiredState) -> DesiredState:
        """Return ``state`` with the changes made.

        Raises Conflict when a MAC address would belong to two nodes, a node would have none, or
        what is to be removed is not there.
        """
        after = replace(
            state,
            nodes=_changed(state.nodes, self.nodes, "node"),
            roles=_changed(state.roles, self.roles, "role"),
            racks=_changed(state.racks, self.racks, "rack"),
            pins=_changed(state.pins, self.pins, "pin"),
            nbp_pins=_changed(state.nbp_pins, self.nbp_pins, "NBP pin"),
        )
        _check(after)
        return after

    def document(self) -> dict[str, Any]:
        """Return the changes as a document; see :func:`changes_from_document`."""
        return {
            "nodes": {name: one and node_document(one) for name, one in self.nodes.items()},
            "roles": {name: one and _plain(one) for name, one in self.roles.items()},
            "racks": {name: one and _plain(one) for name, one in self.racks.items()},
            "pins": [
                {
                    "scope": str(key.scope),
                    "image": key.image,
                    "generation": str(one.generation) if one else None,
                }
                for key, one in sorted(self.pins.items(), key=lambda item: item[0])
            ],
            "nbp_pins": [
                {"scope": str(key.scope), "arch": str(key.arch), "nbp": one.nbp if one else None}
                for key, one in sorted(self.nbp_pins.items(), key=lambda item: item[0])
            ],
        }


def _changed(old: Mapping[K, V], changes: Mapping[K, V | None], what: str) -> Mapping[K, V]:
    if not changes:
        return old
    new = dict(old)
    for key, one in changes.items():
        if one is not None:
            new[key] = one
        elif new.pop(key, None) is None:
            raise Conflict(f"there is no {what} {key} to remove", hint="Plan again.")
    return new


def _check(state: DesiredState) -> None:
    owners: dict[str, str] = {}
    for node in state.nodes.values():
        for mac in node.macs:
            other = owners.setdefault(mac, node.name)
            if other != node.name:
                raise Conflict(f"{mac} would belong to node {other} and to node {node.name}")
    scopes = {key.scope for key in state.pins} | {key.scope for key in state.nbp_pins}
    for scope in scopes:
        if scope.kind is ScopeKind.NODE and scope.name not in state.nodes:
            raise Conflict(f"{scope} has a pin, and there would be no such node")


def _between(old: Mapping[K, V], new: Mapping[K, V]) -> dict[K, V | None]:
    found: dict[K, V | None] = {
        key: one for key, one in new.items() if (had := old.get(key)) is not one and had != one
    }
    found.update(dict.fromkeys(key for key in old if key not in new))
    return found


def changes_between(before: DesiredState, after: DesiredState) -> Changes:
    """Return what makes ``after`` out of ``before``."""
    return Changes(
        nodes=_between(before.nodes, after.nodes),
        roles=_between(before.roles, after.roles),
        racks=_between(before.racks, after.racks),
        pins=_between(before.pins, after.pins),
        nbp_pins=_between(before.nbp_pins, after.nbp_pins),
    )


_NODE_DEFAULTS = {one.name: one.default for one in fields(Node) if one.name not in ("name", "macs")}


def node_document(node: Node) -> dict[str, Any]:
    """Return the fields of ``node`` but its name; see :func:`node_from_document`."""
    found: dict[str, Any] = {"macs": list(node.macs)}
    for name, default in _NODE_DEFAULTS.items():
        value = getattr(node, name)
        if value != default:
            found[name] = dict(value) if name == "labels" else str(value)
    return found


def _plain(one: Role | Rack) -> dict[str, str]:
    return {f.name: getattr(one, f.name) for f in fields(one) if f.name != "name"}


def _name_or_empty(what: str) -> Callable[[Any], str]:
    return lambda text: check_name(_text(text), what) if text != "" else ""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{str(value)[:40]!r} is no text")
    return value


def _choice(kind: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError:
            allowed = ", ".join(kind)
            raise InvalidInput(f"{str(value)[:40]!r} is none of {allowed}") from None

    return read


def _macs(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_MACS:
        raise InvalidInput(f"macs must be a list of 1 to {MAX_MACS} MAC addresses")
    return tuple(dict.fromkeys(parse_mac(_text(value)) for value in values))


def _labels(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise InvalidInput("labels must be names with values")
    return check_labels({_text(key): _text(one) for key, one in value.items()})


NODE_READERS: dict[str, Callable[[Any], Any]] = {
    "macs": _macs,
    "rack": _name_or_empty("rack name"),
    "role": _name_or_empty("role name"),
    "arch": _choice(Arch),
    "image": _name_or_empty("image name"),
    "kernel_args": lambda value: check_kernel_args(_text(value)),
    "boot": _choice(BootFrom),
    "nbp": lambda value: check_nbp_file(_text(value)),
    "labels": _labels,
    "shape": _choice(ShapeSetting),
}
_ROLE_READERS: dict[str, Callable[[Any], Any]] = {
    "image": _name_or_empty("image name"),
    "kernel_args": lambda value: check_kernel_args(_text(value)),
}
_RACK_READERS = {"kernel_args": _ROLE_READERS["kernel_args"]}


def _read(values: Any, readers: Mapping[str, Callable[[Any], Any]], what: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InvalidInput(f"{what} is no mapping of its fields")
    found = {}
    for name, value in values.items():
        reader = readers.get(name)
        if reader is None:
            allowed = ", ".join(readers)
            raise InvalidInput(f"{what} has no field {str(name)[:40]!r}", hint=f"It has {allowed}.")
        try:
            found[name] = reader(value)
        except InvalidInput as error:
            raise InvalidInput(f"{what}: {error}", hint=error.hint) from None
    return found


def node_from_document(name: str, values: Any) -> Node:
    """Return the node ``name`` with these fields; raises InvalidInput for one it cannot have."""
    checked = check_name(name, "node name")
    found = _read(values, NODE_READERS, f"node {checked}")
    if "macs" not in found:
        raise InvalidInput(f"node {checked} has no MAC address", hint="Name them in 'macs'.")
    return Node(checked, **found)


def role_from_document(name: str, values: Any) -> Role:
    """Return the role ``name`` with these fields; raises InvalidInput."""
    checked = check_name(name, "role name")
    found = _read(values, _ROLE_READERS, f"role {checked}")
    if "image" not in found:
        raise InvalidInput(f"role {checked} names no image", hint="Name it in 'image'.")
    return Role(checked, **found)


def rack_from_document(name: str, values: Any) -> Rack:
    """Return the rack ``name`` with these fields; raises InvalidInput."""
    checked = check_name(name, "rack name")
    return Rack(checked, **_read(values, _RACK_READERS, f"rack {checked}"))


def changes_from_document(document: Mapping[str, Any]) -> Changes:
    """Return the changes that ``document`` holds; raises InvalidInput for what they cannot be."""
    return Changes(
        nodes=_by_name(document, "nodes", node_from_document),
        roles=_by_name(document, "roles", role_from_document),
        racks=_by_name(document, "racks", rack_from_document),
        pins=dict(_pin(one) for one in _list(document, "pins")),
        nbp_pins=dict(_nbp_pin(one) for one in _list(document, "nbp_pins")),
    )


def _by_name(
    document: Mapping[str, Any], what: str, read: Callable[[str, Any], V]
) -> dict[str, V | None]:
    found = document.get(what, {})
    if not isinstance(found, dict):
        raise InvalidInput(f"{what} must be names with fields")
    return {name: None if one is None else read(name, one) for name, one in found.items()}


def _list(document: Mapping[str, Any], what: str) -> list[Mapping[str, Any]]:
    found = document.get(what, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidInput(f"{what} must be a list of mappings")
    return found


def _pin(one: Mapping[str, Any]) -> tuple[PinKey, Pin | None]:
    scope = Scope.parse(_text(one.get("scope")))
    key = PinKey(scope, check_name(_text(one.get("image")), "image name"))
    if one.get("generation") is None:
        return key, None
    pin = Pin(scope, GenerationRef.parse(_text(one["generation"])))
    if pin.key != key:
        raise InvalidInput(f"a pin of image {key.image} names {pin.generation}")
    return key, pin


def _nbp_pin(one: Mapping[str, Any]) -> tuple[NbpPinKey, NbpPin | None]:
    scope = Scope.parse(_text(one.get("scope")))
    if scope.kind is ScopeKind.ROLE:
        raise InvalidInput("an NBP is pinned at a node, a rack or the site")
    arch: NbpArch = _choice(NbpArch)(one.get("arch"))
    key = NbpPinKey(scope, arch)
    if one.get("nbp") is None:
        return key, None
    return key, NbpPin(scope, arch, check_nbp_name(_text(one["nbp"]), arch))
