"""The desired state: nodes, roles, racks and pins, as one immutable revision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bootserve.errors import InvalidInput
from bootserve.model.generation import GenerationRef
from bootserve.model.names import Arch, Mac, check_name
from bootserve.model.nbp import NbpArch
from bootserve.model.shape import ShapeSetting

__all__ = [
    "BootFrom",
    "DesiredState",
    "NbpPin",
    "NbpPinKey",
    "Node",
    "Pin",
    "PinKey",
    "Rack",
    "Revision",
    "Role",
    "Scope",
    "ScopeKind",
]


class BootFrom(StrEnum):
    """Where a node boots from."""

    NETWORK = "network"
    LOCAL = "local"


class ScopeKind(StrEnum):
    """What a pin may be set on, the most specific first."""

    NODE = "node"
    RACK = "rack"
    ROLE = "role"
    SITE = "site"


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What a pin applies to: ``node/NAME``, ``rack/NAME``, ``role/NAME`` or ``site``."""

    kind: ScopeKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" if self.name else str(self.kind)

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Return the scope written as in :meth:`__str__`; raises InvalidInput otherwise."""
        match = re.fullmatch(r"(node|rack|role)/(.+)", text.strip())
        if match:
            return cls(ScopeKind(match[1]), check_name(match[2], f"{match[1]} name"))
        if text.strip() == "site":
            return cls(ScopeKind.SITE)
        raise InvalidInput(
            f"{text[:80]!r} is not a scope", hint="Write node/NAME, rack/NAME, role/NAME or site."
        )


@dataclass(frozen=True, slots=True)
class Node:
    """One machine.

    ``image`` overrides its role's image; ``nbp`` overrides the NBP's file name, ``shape`` what the
    server would choose for its UEFI PXE firmware.
    """

    name: str
    macs: tuple[Mac, ...]
    rack: str = ""
    role: str = ""
    arch: Arch = Arch.AMD64
    image: str = ""
    kernel_args: str = ""
    boot: BootFrom = BootFrom.NETWORK
    nbp: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    shape: ShapeSetting = ShapeSetting.AUTO


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of node, and the image that its nodes run."""

    name: str
    image: str
    kernel_args: str = ""


@dataclass(frozen=True, slots=True)
class Rack:
    """A rack that carries settings of its own; a rack without any exists by its nodes alone."""

    name: str
    kernel_args: str = ""


@dataclass(frozen=True, slots=True, order=True)
class PinKey:
    """What identifies a pin: a scope holds at most one pin for each image."""

    scope: Scope
    image: str


@dataclass(frozen=True, slots=True)
class Pin:
    """A scope bound to a generation."""

    scope: Scope
    generation: GenerationRef

    @property
    def key(self) -> PinKey:
        """Its scope and image."""
        return PinKey(self.scope, self.generation.image)


@dataclass(frozen=True, slots=True, order=True)
class NbpPinKey:
    """What identifies a pin of an NBP: a scope holds at most one for each kind of firmware."""

    scope: Scope
    arch: NbpArch


@dataclass(frozen=True, slots=True)
class NbpPin:
    """A scope (node, rack or site) bound to an NBP, for the firmware that the NBP is built for."""

    scope: Scope
    arch: NbpArch
    nbp: str

    @property
    def key(self) -> NbpPinKey:
        """Its scope and kind of firmware."""
        return NbpPinKey(self.scope, self.arch)


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Everything a revision fixes. The mappings are never written after construction."""

    nodes: Mapping[str, Node] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    racks: Mapping[str, Rack] = field(default_factory=dict)
    pins: Mapping[PinKey, Pin] = field(default_factory=dict)
    nbp_pins: Mapping[NbpPinKey, NbpPin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Revision:
    """One committed transaction on the desired state; ``at`` is seconds since the epoch."""

    number: int
    at: float
    author: str
    message: str
