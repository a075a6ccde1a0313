"""The API's bodies and answers about rollouts. Times are seconds since the epoch, 0 for never."""

from __future__ import annotations

from pydantic import Field

from bootserve.model.reboot import RebootMethod
from bootserve.model.rollout import MemberState, RolloutState, StageFailure
from bootserve.servers.admin.paging import Page, PageQuery
from bootserve.servers.admin.routing import Answer, Request

__all__ = [
    "AbortBody",
    "MemberList",
    "MemberOut",
    "MemberQuery",
    "PolicyOut",
    "RolloutBody",
    "RolloutList",
    "RolloutOut",
    "RolloutQuery",
    "RolloutShown",
    "RolloutStarted",
    "StageOut",
    "StoryOut",
]


class RolloutBody(Request):
    """A rollout to begin, or with ``dry_run`` only to be shown. Durations are in seconds.

    ``stages`` and ``max_unavailable`` are numbers of nodes or shares (``10%``); ``success`` is the
    share of a stage's nodes, from 0 to 1, that has to be done. A timeout of 0 is none.
    """

    scope: str = Field(max_length=80)
    generation: str = Field(max_length=80)
    stages: str = Field(default="1, 10%, 50%, 100%", max_length=1000)
    max_unavailable: str = Field(default="1", max_length=20)
    soak: float = Field(default=600.0, ge=0, le=30 * 86400)
    success: float = Field(default=0.95, gt=0, le=1)
    reboot: RebootMethod = RebootMethod.NONE
    on_failure: StageFailure = StageFailure.ROLLBACK
    stage_timeout: float = Field(default=0.0, ge=0, le=90 * 86400)
    node_timeout: float = Field(default=900.0, ge=0, le=30 * 86400)
    dry_run: bool = False


class AbortBody(Request):
    """Whether the pins that the rollout has set are left as they are."""

    keep_pins: bool = False


class RolloutQuery(PageQuery):
    """A page of rollouts."""

    limit: int = Field(default=20, ge=1, le=200)


class MemberQuery(PageQuery):
    """A page of a rollout's nodes: all, or those in ``state``."""

    state: MemberState | None = None


class PolicyOut(Answer):
    """How a rollout goes about it; see RolloutBody."""

    max_unavailable: int
    soak: float
    success: float
    reboot: RebootMethod
    on_failure: StageFailure
    stage_timeout: float
    node_timeout: float


class StageOut(Answer):
    """A stage: how many nodes it has, and how many of them are in which state."""

    nodes: int
    counts: dict[MemberState, int]


class MemberOut(Answer):
    """One node of a rollout, in its ``state`` since then; ``stage`` counts from 1."""

    node: str
    stage: int
    state: MemberState
    since: float
    attempt: int
    pinned: bool
    detail: str


class MemberList(Page):
    """Nodes of a rollout, by name."""

    rollout: int
    nodes: list[MemberOut]


class StoryOut(Answer):
    """One line of a rollout's story."""

    at: float
    text: str
    node: str
    revision: int


class RolloutOut(Answer):
    """A rollout. ``stage`` is the one under way, counted from 1; 0 before the first.

    ``holds_nodes``: no other rollout may touch its nodes.
    """

    number: int
    scope: str
    generation: str
    state: RolloutState
    reason: str
    stage: int
    stages: list[StageOut]
    policy: PolicyOut
    nodes: int
    counts: dict[MemberState, int]
    holds_nodes: bool
    created_at: float
    created_by: str
    stage_since: float
    paused_at: float
    ended_at: float


class RolloutStarted(RolloutOut):
    """A rollout that begins, and the nodes of its scope that are left out, by the reason why."""

    left_out: dict[str, list[str]]


class RolloutShown(RolloutOut):
    """A rollout, who of its nodes is under way, failed or left (at most 100), and its story."""

    unsettled: list[MemberOut]
    story: list[StoryOut]


class RolloutList(Page):
    """Rollouts, the newest first."""

    rollouts: list[RolloutOut]
