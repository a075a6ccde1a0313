"""The pins that a rollout moves, and which nodes are still its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bootserve.core.resolve import image_of, scopes_of
from bootserve.core.transactions import Change
from bootserve.model.desired import (
    BootFrom,
    DesiredState,
    Pin,
    PinKey,
    Scope,
    ScopeKind,
)
from bootserve.model.rollout import Member, Rollout

__all__ = ["PinMove", "back", "entered", "final", "ours", "scope_pin"]


@dataclass(frozen=True, slots=True)
class PinMove:
    """A change of pins and the message of the revision that it becomes."""

    change: Change
    message: str


def _key(rollout: Rollout, node: str) -> PinKey:
    return PinKey(Scope(ScopeKind.NODE, node), rollout.generation.image)


def scope_pin(state: DesiredState, rollout: Rollout) -> Pin | None:
    """Return the pin of the rollout's image that its scope has under ``state``."""
    return state.pins.get(PinKey(rollout.scope, rollout.generation.image))


def ours(state: DesiredState, rollout: Rollout, member: Member) -> str:
    """Return why ``member`` is no longer the rollout's to change; empty when it still is."""
    node = state.nodes.get(member.node)
    if node is None:
        return "it was removed"
    if image_of(state, node) != rollout.generation.image:
        return f"it runs image {image_of(state, node) or '(none)'} now"
    if node.boot is BootFrom.LOCAL:
        return "it is set to boot from its local disk"
    if rollout.scope not in scopes_of(node):
        return f"it is no longer in {rollout.scope}"
    found = state.pins.get(_key(rollout, member.node))
    expected = rollout.generation if member.pinned else member.before
    if (found.generation if found else None) != expected:
        return f"it was pinned to {found.generation} by hand" if found else "its pin was removed"
    return ""


def entered(rollout: Rollout, members: Sequence[Member], message: str) -> PinMove:
    """Return the move that pins each of ``members`` to the rollout's generation."""
    pins = [Pin(Scope(ScopeKind.NODE, one.node), rollout.generation) for one in members]

    def change(state: DesiredState) -> DesiredState:
        return replace(state, pins={**state.pins, **{pin.key: pin for pin in pins}})

    return _move(rollout, change, message)


def back(rollout: Rollout, members: Sequence[Member], message: str) -> PinMove:
    """Return the move that gives each of ``members`` the pin it had before, or none."""

    def change(state: DesiredState) -> DesiredState:
        pins = dict(state.pins)
        for member in members:
            key = _key(rollout, member.node)
            pins.pop(key, None)
            if member.before is not None:
                pins[key] = Pin(key.scope, member.before)
        return replace(state, pins=pins)

    return _move(rollout, change, message)


def final(rollout: Rollout, members: Sequence[Member], message: str) -> PinMove:
    """Return the move that pins the scope and takes the pins of ``members`` off."""
    pin = Pin(rollout.scope, rollout.generation)

    def change(state: DesiredState) -> DesiredState:
        gone = {_key(rollout, member.node) for member in members}
        pins = {key: one for key, one in state.pins.items() if key not in gone}
        return replace(state, pins={**pins, pin.key: pin})

    return _move(rollout, change, message)


def _move(rollout: Rollout, change: Change, text: str) -> PinMove:
    return PinMove(change, f"rollout {rollout.number}: {text}")
