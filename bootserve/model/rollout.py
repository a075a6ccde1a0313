"""Rollouts: a scope's nodes taken to a generation in stages. Times are epoch seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bootserve.model.desired import Pin, Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.reboot import RebootMethod

__all__ = [
    "FINAL",
    "IN_FLIGHT",
    "CountedRollout",
    "Member",
    "MemberState",
    "Policy",
    "Rollout",
    "RolloutEvent",
    "RolloutState",
    "Sighting",
    "StageFailure",
]


class RolloutState(StrEnum):
    """Where a rollout is; docs/rollouts.md has the picture."""

    RUNNING = "running"
    PAUSED = "paused"
    FAILED = "failed"
    ABORTED = "aborted"
    DONE = "done"


class MemberState(StrEnum):
    """Where one node of a rollout is.

    ``before``: the hooks before its reboot run. ``rebooting``: it is being made to reboot.
    ``booting``: it is expected to report up. ``soaking``: it is up and has to stay so. ``after``:
    the hooks after it run. ``left``: to an admin, who pinned, moved or removed it meanwhile.
    """

    WAITING = "waiting"
    BEFORE = "before"
    REBOOTING = "rebooting"
    BOOTING = "booting"
    SOAKING = "soaking"
    AFTER = "after"
    DONE = "done"
    FAILED = "failed"
    LEFT = "left"


IN_FLIGHT = frozenset(
    {
        MemberState.BEFORE,
        MemberState.REBOOTING,
        MemberState.BOOTING,
        MemberState.SOAKING,
        MemberState.AFTER,
    }
)
"""What counts against max-unavailable."""

FINAL = frozenset({MemberState.DONE, MemberState.FAILED, MemberState.LEFT})


class StageFailure(StrEnum):
    """What a failed stage does with its nodes' pins: put them back, or leave them."""

    ROLLBACK = "rollback"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Policy:
    """How a rollout goes about it. Times are in seconds; a timeout of 0 is none.

    ``success`` is the share of a stage's nodes, from 0 to 1, that has to be done; ``node_timeout``
    is how long a node that was made to reboot may take to report up.
    """

    max_unavailable: int = 1
    soak: float = 600.0
    success: float = 1.0
    method: RebootMethod = RebootMethod.NONE
    on_failure: StageFailure = StageFailure.ROLLBACK
    stage_timeout: float = 0.0
    node_timeout: float = 900.0


@dataclass(frozen=True, slots=True)
class Member:
    """One node of a rollout: its stage (from 0), where it is and since when.

    ``pinned``: the rollout's pin is on it. ``before`` is the pin that the node itself had (only
    where the scope is the node). ``attempt`` counts its reboots; while its hooks after the reboot
    run, ``then`` is what it becomes and ``up`` what they are told. ``boot`` is the one it soaks in.
    """

    node: str
    stage: int
    state: MemberState = MemberState.WAITING
    since: float = 0.0
    attempt: int = 0
    pinned: bool = False
    up: bool = False
    then: MemberState = MemberState.WAITING
    before: GenerationRef | None = None
    boot: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """One line of a rollout's story; ``revision`` is the one that it made, 0 for none."""

    at: float
    text: str
    node: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout of ``generation``, whose root has the sha256 ``root``, over ``scope``.

    ``stages`` has for each stage how many nodes it and those before it hold; ``stage`` is the one
    under way, -1 before the first. ``base`` is the scope's own pin that the rollout will replace.
    ``version`` grows with each step; ``paused_at`` is set while it is paused.
    """

    number: int
    scope: Scope
    generation: GenerationRef
    root: str
    stages: tuple[int, ...]
    policy: Policy
    created_at: float
    created_by: str
    base: Pin | None = None
    state: RolloutState = RolloutState.RUNNING
    stage: int = -1
    stage_since: float = 0.0
    paused_at: float = 0.0
    ended_at: float = 0.0
    reason: str = ""
    version: int = 1
    members: Mapping[str, Member] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether it still holds its nodes: no other rollout may touch them."""
        return _holds(self.state, ((one.state, one.pinned) for one in self.members.values()))


@dataclass(frozen=True, slots=True)
class CountedRollout:
    """A rollout without its members: ``counts`` has how many of them are of each kind.

    A kind is the number of a stage, a state, and whether the member has a pin of its own.
    """

    rollout: Rollout
    counts: Mapping[tuple[int, MemberState, bool], int]

    @classmethod
    def of(cls, rollout: Rollout) -> CountedRollout:
        """Return ``rollout``, whose members are known, counted."""
        members = rollout.members.values()
        return cls(rollout, Counter((one.stage, one.state, one.pinned) for one in members))

    @property
    def open(self) -> bool:
        """Whether it still holds its nodes, as of :attr:`Rollout.open`."""
        return _holds(self.rollout.state, ((state, pinned) for _, state, pinned in self.counts))


def _holds(rollout: RolloutState, members: Iterable[tuple[MemberState, bool]]) -> bool:
    if rollout in (RolloutState.RUNNING, RolloutState.PAUSED):
        return True
    if rollout is RolloutState.DONE:
        return False
    failed = rollout is RolloutState.FAILED
    return any(state in IN_FLIGHT or (pinned and failed) for state, pinned in members)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a node last said of itself, as a rollout needs it.

    ``boot`` is the newest boot that it reported anything by, minted at ``minted_at`` for
    ``generation``; ``up_at`` when it said that it was up, 0 for not yet, and ``root`` the sha256
    of the root that it named last, at ``heard_at``. ``agent``: it sends heartbeats, and ``silent``:
    they have stopped. ``newer_at`` is when it was given a script since, by which it said nothing
    yet, 0 for never. ``problem`` is its own word that the boot came to nothing; ``degraded`` why it
    is found not to come up with the generation ``failing``.
    """

    boot: str = ""
    minted_at: float = 0.0
    generation: GenerationRef | None = None
    up_at: float = 0.0
    root: str = ""
    heard_at: float = 0.0
    agent: bool = False
    silent: bool = False
    newer_at: float = 0.0
    problem: str = ""
    degraded: str = ""
    failing: GenerationRef | None = None
