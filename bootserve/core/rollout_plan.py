"""What a rollout would touch, and how its stages are cut, before it begins.

A rollout takes exactly the nodes that a pin of its scope would decide for: those with a more
specific pin of the image, or another image, are left out, as they would be by ``bootserve pin``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from bootserve.core.resolve import Action, image_of, resolve, scopes_of, usable
from bootserve.core.snapshot import Snapshot
from bootserve.core.transactions import pin as pin_change
from bootserve.errors import Conflict, InvalidInput, Refused
from bootserve.model.desired import DesiredState, Node, Pin, PinKey, Scope, ScopeKind
from bootserve.model.generation import Generation, GenerationRef
from bootserve.model.rollout import Member, Policy, Rollout

__all__ = ["RolloutPlan", "cut_stages", "parse_share", "parse_unavailable", "plan_rollout"]

MAX_STAGES = 100
_COUNT = re.compile(r"[1-9]\d{0,8}")
_SHARE = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%")


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """A rollout that has not begun, and why which nodes of its scope are left out of it."""

    rollout: Rollout
    left_out: Mapping[str, Sequence[str]]


def cut_stages(text: str, nodes: int) -> tuple[int, ...]:
    """Return how many of ``nodes`` each stage of ``text`` and those before it hold.

    ``text`` is as in ``1, 10%, 50%, 100%``. A stage that adds no node to a small scope is left
    out. Raises InvalidInput when it is written otherwise, does not grow, or does not reach all.
    """
    words = [word.strip() for word in text.split(",")]
    if not 0 < len(words) <= MAX_STAGES:
        raise InvalidInput(f"a rollout has 1 to {MAX_STAGES} stages")
    counts = [_count(word, nodes) for word in words]
    shares = [_share(word) for word in words]
    if any(a > b for a, b in pairwise(counts)):
        raise InvalidInput("each stage must hold more nodes than the one before it")
    if counts[-1] < nodes or (shares[-1] is not None and shares[-1] < 1):
        raise InvalidInput(
            f"the last stage, {words[-1]}, is not all {nodes} nodes", hint="End it with 100%."
        )
    return tuple(dict.fromkeys(counts))


def _count(word: str, nodes: int) -> int:
    share = _share(word)
    if share is not None:
        return ceil(nodes * share - 1e-9)
    if _COUNT.fullmatch(word):
        return min(int(word), nodes)
    raise InvalidInput(
        f"{word[:40]!r} is not a stage", hint="Write numbers of nodes or shares: '1, 10%, 100%'."
    )


def _share(word: str) -> float | None:
    match = _SHARE.fullmatch(word)
    if match is None:
        return None
    share = float(match[1]) / 100
    if not 0 < share <= 1:
        raise InvalidInput(f"{word[:40]!r} is not a share between 0 and 100 %")
    return share


def parse_share(text: str) -> float:
    """Return the share, from 0 to 1, that ``text`` (``95%``) names; raises InvalidInput."""
    share = _share(text.strip())
    if share is None:
        raise InvalidInput(f"{text[:40]!r} is not a share", hint="Write it as 95%.")
    return share


def parse_unavailable(text: str, nodes: int) -> int:
    """Return how many of ``nodes`` ``text`` (``2`` or ``5%``) allows, at least 1."""
    return max(1, _count(text.strip(), nodes))


def plan_rollout(
    snapshot: Snapshot, scope: Scope, ref: GenerationRef, stages: str, unavailable: str
) -> RolloutPlan:
    """Return the rollout of ``ref`` over ``scope`` as it would begin now.

    Its number, times, author and the rest of its policy are left to the caller. Raises
    InvalidInput, NotFound and Refused for what the scope could not be pinned to, and Conflict when
    its pin would decide for no node.
    """
    generation = usable(ref, snapshot.generations)
    members, left_out = _sorted_out(snapshot, scope, generation)
    if not members:
        raise Conflict(_nothing(scope, ref, left_out))
    counts = cut_stages(stages, len(members))
    rollout = Rollout(
        number=0,
        scope=scope,
        generation=ref,
        root=generation.manifest.artifacts["root"].sha256,
        stages=counts,
        policy=Policy(max_unavailable=parse_unavailable(unavailable, len(members))),
        created_at=0.0,
        created_by="",
        base=snapshot.state.pins.get(PinKey(scope, ref.image)),
        members={one.node: one for one in _staged(snapshot.state, scope, ref, members, counts)},
    )
    return RolloutPlan(rollout, left_out)


def _sorted_out(
    snapshot: Snapshot, scope: Scope, generation: Generation
) -> tuple[list[Node], dict[str, list[str]]]:
    """Return the nodes that a pin of ``scope`` would decide for, and the others by reason."""
    state = snapshot.state
    pinned = pin_change(Pin(scope, generation.ref))(state)
    nodes: list[Node] = []
    left_out: dict[str, list[str]] = {}
    for node in sorted(state.nodes.values(), key=lambda one: (one.rack, one.name)):
        if scope not in scopes_of(node):
            continue
        if reason := _left_out(pinned, node, scope, generation, snapshot):
            left_out.setdefault(reason, []).append(node.name)
        else:
            nodes.append(node)
    return nodes, left_out


def _left_out(
    pinned: DesiredState, node: Node, scope: Scope, generation: Generation, snapshot: Snapshot
) -> str:
    if image_of(pinned, node) != generation.ref.image:
        return f"image {image_of(pinned, node) or '(none)'}"
    resolution = resolve(pinned, node, snapshot.generations)
    if resolution.action is Action.LOCAL:
        return "boots from its local disk"
    if resolution.pin is not None and resolution.pin.scope != scope:
        return f"pin {_kind(resolution.pin.scope)}"
    if resolution.action is not Action.BOOT:
        raise Refused(f"node {node.name} could not boot it: {resolution.reason}")
    return ""


def _kind(scope: Scope) -> str:
    return "of its own" if scope.kind is ScopeKind.NODE else str(scope)


def _nothing(scope: Scope, ref: GenerationRef, left_out: Mapping[str, Sequence[str]]) -> str:
    if not left_out:
        return f"there is no node in {scope}"
    reasons = ", ".join(f"{len(names)} with {why}" for why, names in sorted(left_out.items()))
    return f"a pin of {scope} to {ref} would decide for no node ({reasons})"


def _staged(
    state: DesiredState,
    scope: Scope,
    ref: GenerationRef,
    nodes: Sequence[Node],
    counts: Sequence[int],
) -> list[Member]:
    members, stage = [], 0
    for place, node in enumerate(nodes):
        if place >= counts[stage]:
            stage += 1
        own = state.pins.get(PinKey(Scope(ScopeKind.NODE, node.name), ref.image))
        before = own.generation if own and scope.kind is ScopeKind.NODE else None
        members.append(Member(node.name, stage, before=before))
    return members
