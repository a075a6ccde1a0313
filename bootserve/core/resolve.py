"""Which generation a node boots, and why: the rule of pins, in one place.

A pin applies to a node when the pinned image is the image of the node's role (or the node's own
override). Among those that apply, node beats rack beats role beats site. The winner is followed to
its generation or the node holds: a pin that cannot be followed never gives way to a lesser one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bootserve.errors import IntegrityError, NotFound, Refused
from bootserve.model.desired import BootFrom, DesiredState, Node, Pin, PinKey, Scope, ScopeKind
from bootserve.model.generation import Generation, GenerationRef

__all__ = [
    "REPAIR",
    "Action",
    "Generations",
    "Resolution",
    "image_of",
    "kernel_args_of",
    "resolve",
    "scopes_of",
    "usable",
    "winning_pin",
]

Generations = Mapping[GenerationRef, Generation]

REPAIR = "Import the generation's bundle again, or remove the generation."
"""What to do about a damaged generation."""


class Action(StrEnum):
    """What a node is told to do when it asks for its script."""

    BOOT = "boot"
    HOLD = "hold"
    LOCAL = "local"
    UNRESOLVABLE = "unresolvable"


@dataclass(frozen=True, slots=True)
class Resolution:
    """The outcome for one node: what to do, with which generation, and in words why."""

    action: Action
    reason: str
    pin: Pin | None = None
    generation: Generation | None = None


def scopes_of(node: Node) -> tuple[Scope, ...]:
    """Return the scopes that ``node`` is in, the most specific first."""
    scopes = [Scope(ScopeKind.NODE, node.name)]
    if node.rack:
        scopes.append(Scope(ScopeKind.RACK, node.rack))
    if node.role:
        scopes.append(Scope(ScopeKind.ROLE, node.role))
    scopes.append(Scope(ScopeKind.SITE))
    return tuple(scopes)


def image_of(state: DesiredState, node: Node) -> str:
    """Return the name of the image that ``node`` runs: its override, else its role's, else ''."""
    if node.image:
        return node.image
    role = state.roles.get(node.role)
    return role.image if role else ""


def kernel_args_of(state: DesiredState, node: Node) -> str:
    """Return the kernel arguments of the node's role, rack and self, in that order."""
    role = state.roles.get(node.role)
    rack = state.racks.get(node.rack)
    parts = (role.kernel_args if role else "", rack.kernel_args if rack else "", node.kernel_args)
    return " ".join(part for part in parts if part)


def resolve(state: DesiredState, node: Node, generations: Generations) -> Resolution:
    """Return what ``node`` does at its next boot under ``state``. Never raises."""
    if node.boot is BootFrom.LOCAL:
        return Resolution(Action.LOCAL, "the node is set to boot from its local disk")
    image = image_of(state, node)
    if not image:
        if node.role:
            reason = f"its role {node.role} names no image"
        else:
            reason = "it has neither a role nor an image of its own"
        return Resolution(Action.HOLD, reason)
    pin = winning_pin(state, node, image)
    if pin is None:
        return Resolution(Action.HOLD, f"no pin for image {image} applies to it")
    return _follow(pin, node, generations)


def winning_pin(state: DesiredState, node: Node, image: str) -> Pin | None:
    """Return the most specific pin of ``image`` that applies to ``node``."""
    for scope in scopes_of(node):
        pin = state.pins.get(PinKey(scope, image))
        if pin is not None:
            return pin
    return None


def usable(ref: GenerationRef, generations: Generations) -> Generation:
    """Return the generation that ``ref`` names, for nodes to be given.

    Raises NotFound when there is none or its artifacts were removed, Refused when it was revoked,
    IntegrityError when it is damaged.
    """
    generation = generations.get(ref)
    if generation is None:
        raise NotFound(f"there is no generation {ref}", hint="See 'bootserve image list'.")
    if generation.damaged:
        raise IntegrityError(f"{ref}, {generation.damaged}", hint=REPAIR)
    if generation.revoked is not None:
        raise Refused(
            f"{ref} was revoked by {generation.revoked.by}: {generation.revoked.reason}",
            hint=f"Choose another, or lift it: bootserve image unrevoke {ref} -m WHY.",
        )
    if generation.removed_at is not None:
        raise NotFound(
            f"the artifacts of {ref} were removed", hint="Import the generation's bundle again."
        )
    return generation


def _follow(pin: Pin, node: Node, generations: Generations) -> Resolution:
    generation = generations.get(pin.generation)
    if generation is None:
        problem = f"pin {pin.scope} names {pin.generation}, which does not exist"
    elif generation.barred:
        problem = f"pin {pin.scope} names {pin.generation}, {generation.barred}"
    elif generation.manifest.arch is not node.arch:
        problem = (
            f"pin {pin.scope} names {pin.generation}, built for {generation.manifest.arch},"
            f" and the node is {node.arch}"
        )
    else:
        return Resolution(Action.BOOT, f"pin {pin.scope}", pin, generation)
    return Resolution(Action.UNRESOLVABLE, problem, pin)
