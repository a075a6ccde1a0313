"""Which NBP a node's firmware loads, when one is pinned: the rule of NBP pins, in one place.

For each kind of firmware node beats rack beats site. The winner is followed or nothing is offered:
an NBP that is gone never gives way to a less specific one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bootserve.core.resolve import scopes_of
from bootserve.errors import Conflict, NotFound, Refused
from bootserve.model.desired import DesiredState, NbpPin, NbpPinKey, Node, Scope, ScopeKind
from bootserve.model.names import Arch
from bootserve.model.nbp import Nbp, NbpArch

__all__ = [
    "NbpChoice",
    "Nbps",
    "check_nbp_pins",
    "nbps_of",
    "pin_nbp",
    "pinned_nbp",
    "restorable_nbp_pins",
    "unpin_nbp",
    "unrestorable_nbp_pins",
]

Nbps = Mapping[str, Nbp]
"""The NBPs that were added, by name, removed ones too."""

_FITS = {
    Arch.AMD64: (NbpArch.BIOS, NbpArch.X64),
    Arch.I386: (NbpArch.BIOS,),
    Arch.ARM64: (NbpArch.ARM64,),
}


@dataclass(frozen=True, slots=True)
class NbpChoice:
    """The pin that decides for one kind of firmware, and its NBP, or in words why there is none."""

    pin: NbpPin
    nbp: Nbp | None
    problem: str = ""


def pinned_nbp(state: DesiredState, node: Node, nbps: Nbps, arch: NbpArch) -> NbpChoice | None:
    """Return what is pinned for ``node`` when its firmware is ``arch``; None for nothing."""
    if not state.nbp_pins:
        return None
    for scope in scopes_of(node):
        pin = state.nbp_pins.get(NbpPinKey(scope, arch))
        if pin is not None:
            return _follow(pin, nbps)
    return None


def _follow(pin: NbpPin, nbps: Nbps) -> NbpChoice:
    nbp = nbps.get(pin.nbp)
    if nbp is None:
        return NbpChoice(pin, None, f"NBP pin {pin.scope} names {pin.nbp}, which does not exist")
    if nbp.removed_at is not None:
        return NbpChoice(pin, None, f"NBP pin {pin.scope} names {pin.nbp}, which was removed")
    if nbp.arch is not pin.arch:
        problem = f"NBP pin {pin.scope} for {pin.arch} names {pin.nbp}, which is for {nbp.arch}"
        return NbpChoice(pin, None, problem)
    return NbpChoice(pin, nbp)


def nbps_of(state: DesiredState, node: Node, nbps: Nbps) -> list[NbpChoice]:
    """Return what is pinned for ``node``, by kind of firmware."""
    found = (pinned_nbp(state, node, nbps, arch) for arch in _FITS[node.arch])
    return [choice for choice in found if choice is not None]


def pin_nbp(scope: Scope, name: str, nbps: Nbps) -> Callable[[DesiredState], DesiredState]:
    """A change that pins the NBP ``name`` at ``scope``, in place of the one for that firmware.

    Raises NotFound for an NBP or node that does not exist, Refused for a role and for a node of
    another architecture.
    """

    def change(state: DesiredState) -> DesiredState:
        nbp = nbps.get(name)
        if nbp is None or nbp.removed_at is not None:
            raise NotFound(f"there is no NBP {name}", hint="See 'bootserve nbp list'.")
        if scope.kind is ScopeKind.ROLE:
            raise Refused("an NBP is pinned at a node, a rack or the site")
        if scope.kind is ScopeKind.NODE and scope.name not in state.nodes:
            raise NotFound(f"there is no node {scope.name}", hint="See 'bootserve node list'.")
        pin = NbpPin(scope, nbp.arch, name)
        return replace(state, nbp_pins={**state.nbp_pins, pin.key: pin})

    return change


def unpin_nbp(scope: Scope, arch: NbpArch | None) -> Callable[[DesiredState], DesiredState]:
    """A change that removes the NBP pin for ``arch`` at ``scope``, or its only one.

    Raises NotFound when there is none, and Conflict when ``arch`` is needed to tell several apart.
    """

    def change(state: DesiredState) -> DesiredState:
        found = [key for key in state.nbp_pins if key.scope == scope and arch in (None, key.arch)]
        if not found:
            raise NotFound(
                f"there is no pin of {f'an NBP for {arch}' if arch else 'an NBP'} on {scope}"
            )
        if len(found) > 1:
            kinds = ", ".join(sorted(key.arch for key in found))
            raise Conflict(f"{scope} has NBP pins for {kinds}", hint="Name one with --arch.")
        return replace(state, nbp_pins={k: v for k, v in state.nbp_pins.items() if k != found[0]})

    return change


def check_nbp_pins(before: DesiredState, after: DesiredState, nbps: Nbps) -> None:
    """Raise when a change leads to a new or newly affected NBP pin that cannot be followed.

    NotFound for an NBP that is gone, Refused for a node whose architecture is another.
    """
    for key, pin in after.nbp_pins.items():
        new = before.nbp_pins.get(key) != pin
        if new and (problem := _follow(pin, nbps).problem):
            raise NotFound(problem, hint="See 'bootserve nbp list'.")
        if key.scope.kind is not ScopeKind.NODE or key.scope.name not in after.nodes:
            continue
        node = after.nodes[key.scope.name]
        known = before.nodes.get(node.name)
        if key.arch not in _FITS[node.arch] and (new or known is None or known.arch != node.arch):
            raise Refused(
                f"NBP pin {pin.scope} names {pin.nbp}, built for {pin.arch},"
                f" and the node is {node.arch}",
                hint="Remove the pin first:"
                f" bootserve nbp unpin {pin.scope} --arch {pin.arch} -m WHY.",
            )


def restorable_nbp_pins(
    old: DesiredState, target: DesiredState, nbps: Nbps
) -> dict[NbpPinKey, NbpPin]:
    """Return the NBP pins of ``old`` whose node and NBP are there still."""
    return {key: pin for key, pin in old.nbp_pins.items() if not _lost(pin, target, nbps)}


def unrestorable_nbp_pins(old: DesiredState, target: DesiredState, nbps: Nbps) -> list[str]:
    """Return, in words, the NBP pins of ``old`` that cannot be brought back."""
    return [
        f"NBP pin {pin.scope} {pin.nbp}: {problem}"
        for _, pin in sorted(old.nbp_pins.items())
        if (problem := _lost(pin, target, nbps))
    ]


def _lost(pin: NbpPin, target: DesiredState, nbps: Nbps) -> str:
    if pin.scope.kind is ScopeKind.NODE and pin.scope.name not in target.nodes:
        return f"{pin.scope} no longer exists"
    return "the NBP was removed" if _follow(pin, nbps).problem else ""
