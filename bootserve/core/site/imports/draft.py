"""Nodes as they are found in other systems' files, and what is said about them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any

from bootserve.errors import InvalidInput
from bootserve.model.desired import DesiredState, Node, Role
from bootserve.model.names import Mac, check_kernel_args, check_labels, check_name, parse_mac

__all__ = ["ADDRESS", "Draft", "Where", "address_label", "parse_address", "slug"]

ADDRESS = "address"
"""The label that holds the IPv4 address of a node's first NIC; ``address-2`` its second's, …"""


def address_label(place: int) -> str:
    """Return the label of the address of NIC ``place``, the first being 0."""
    return ADDRESS if place == 0 else f"{ADDRESS}-{place + 1}"


def parse_address(text: str) -> str:
    """Return an IPv4 address as it is usually written, a prefix length left out.

    Raises InvalidInput.
    """
    try:
        return str(IPv4Address(text.strip().partition("/")[0]))
    except ValueError:
        raise InvalidInput(f"{text[:40]!r} is not an IPv4 address") from None


def slug(text: str) -> str:
    """Return ``text`` as a name of ours, or empty when nothing of it can be one."""
    folded = re.sub(r"[^a-z0-9._-]+", "-", text.strip().lower())
    return re.sub(r"^[^a-z0-9]+|[^a-z0-9]+$", "", folded[:63])


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(slots=True)
class Draft:
    """Nodes so far. ``notes`` say, each with file and line, what was not carried over and why."""

    nodes: dict[str, Node] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _owners: dict[Mac, str] = field(default_factory=dict)
    _renamed: set[tuple[str, str]] = field(default_factory=set)

    def note(self, where: Where, text: str) -> None:
        """Say something about a place in a file."""
        self.notes.append(f"{where}: {text}")

    def name(self, where: Where, text: str, what: str) -> str:
        """Return ``text`` as a name of a ``what``, with a note when it had to be changed."""
        made = slug(text)
        if made != text and made and (what, text) not in self._renamed:
            self._renamed.add((what, text))
            self.note(where, f"{what} {text!r} is called {made} here")
        return made

    def macs(self, where: Where, texts: Iterable[str]) -> list[Mac]:
        """Return those of ``texts`` that are MAC addresses of NICs, with a note on the others."""
        found = []
        for text in texts:
            try:
                found.append(parse_mac(text))
            except InvalidInput as error:
                self.note(where, f"{error}: left out")
        return found

    def add(
        self,
        where: Where,
        name: str,
        macs: Iterable[Mac],
        *,
        addresses: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> None:
        """Add a node, or more NICs of one that is there; ``addresses`` are those of ``macs``.

        An empty address is of a NIC that has none.
        """
        name = self.name(where, name, "node")
        if not name:
            self.note(where, "this has no usable name: left out")
            return
        old = self.nodes.get(name, Node(name, ()))
        nics, held = list(old.macs), dict(old.labels)
        pairs = list(zip(macs, [*addresses, *[""] * 64], strict=False))
        for mac, address in pairs:
            owner = self._owners.setdefault(mac, name)
            if owner != name:
                self.note(where, f"{mac} belongs to node {owner} already: left out here")
                continue
            if mac not in nics:
                nics.append(mac)
            if address:
                held[address_label(nics.index(mac))] = address
        if not nics:
            self.note(where, f"node {name} has no MAC address: left out")
            return
        held |= self._labels(where, labels or {})
        checked = self._fields(where, fields)
        self.nodes[name] = replace(
            old, macs=tuple(nics), labels=tuple(sorted(held.items())), **checked
        )

    def _labels(self, where: Where, labels: Mapping[str, str]) -> dict[str, str]:
        found = {}
        for key, value in labels.items():
            if value and self._kept(where, f"label {key}", check_labels, {key: value}):
                found[key] = value
        return found

    def _fields(self, where: Where, fields: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for key, value in fields.items():
            if key in ("rack", "role", "image") and value:
                value = self.name(where, value, key)
            check = check_kernel_args if key == "kernel_args" else _named
            if value and self._kept(where, key, check, value):
                found[key] = value
        return found

    def _kept(self, where: Where, what: str, check: Callable[[Any], object], value: Any) -> bool:
        try:
            check(value)
        except InvalidInput as error:
            self.note(where, f"{what} is not carried over: {error}")
            return False
        return True

    def state(self, *, rack: str = "", role: str = "") -> DesiredState:
        """Return the nodes as a state; ``rack`` and ``role`` are for nodes that have none."""
        nodes = {
            name: replace(node, rack=node.rack or rack, role=node.role or role)
            for name, node in self.nodes.items()
        }
        return DesiredState(nodes=nodes, roles=self.roles)


def _named(value: Any) -> Any:
    return check_name(value) if isinstance(value, str) else value
