"""Explains a node's next boot: which pin applies, which lost to it and why."""

from __future__ import annotations

from dataclasses import dataclass

from bootserve.core.resolve import Action, image_of, scopes_of
from bootserve.core.snapshot import Snapshot
from bootserve.errors import NotFound
from bootserve.model.desired import DesiredState, Node, Pin

__all__ = ["Explanation", "LostPin", "explain"]


@dataclass(frozen=True, slots=True)
class LostPin:
    """A pin in one of the node's scopes that does not decide, and why."""

    pin: Pin
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a node does at its next boot under one revision, with every reason.

    ``kernel_args`` is the chain that is appended: pairs of where from and the text.
    """

    node: Node
    revision: int
    image: str
    image_from: str
    action: Action
    reason: str
    pin: Pin | None
    lost: tuple[LostPin, ...]
    kernel_args: tuple[tuple[str, str], ...]


def explain(snapshot: Snapshot, name: str) -> Explanation:
    """Return the explanation for node ``name``; raises NotFound when there is none."""
    plan = snapshot.plans.get(name)
    if plan is None:
        raise NotFound(f"there is no node {name}", hint="See 'bootserve node list'.")
    node, resolution, state = plan.node, plan.resolution, snapshot.state
    image = image_of(state, node)
    source = "the node's override" if node.image else f"role {node.role}" if image else ""
    return Explanation(
        node=node,
        revision=snapshot.revision.number,
        image=image,
        image_from=source,
        action=resolution.action,
        reason=resolution.reason,
        pin=resolution.pin,
        lost=tuple(_lost(state, node, image, resolution.pin)),
        kernel_args=tuple(_kernel_args(state, node)),
    )


def _lost(state: DesiredState, node: Node, image: str, winner: Pin | None) -> list[LostPin]:
    lost = []
    scopes = {scope: rank for rank, scope in enumerate(scopes_of(node))}
    in_scope = [pin for key, pin in state.pins.items() if key.scope in scopes]
    for pin in sorted(in_scope, key=lambda pin: (scopes[pin.scope], pin.generation)):
        if pin == winner:
            continue
        if pin.generation.image != image:
            reason = f"it is for image {pin.generation.image}; the node runs {image or 'none'}"
        elif winner is None:
            reason = "the node does not boot from the network"
        else:
            reason = f"{winner.scope.kind} beats {pin.scope.kind}"
        lost.append(LostPin(pin, reason))
    return lost


def _kernel_args(state: DesiredState, node: Node) -> list[tuple[str, str]]:
    role, rack = state.roles.get(node.role), state.racks.get(node.rack)
    chain = [
        (f"role {node.role}", role.kernel_args if role else ""),
        (f"rack {node.rack}", rack.kernel_args if rack else ""),
        (f"node {node.name}", node.kernel_args),
    ]
    return [(source, text) for source, text in chain if text]
