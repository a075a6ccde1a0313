"""The API's bodies and answers about reboots and hooks. Times are seconds since the epoch."""

from __future__ import annotations

from pydantic import Field

from bootserve.model.hooks import HookOutcome, HookWhen, OnFailure
from bootserve.model.reboot import RebootMethod
from bootserve.model.reboot_record import RebootPhase
from bootserve.servers.admin.paging import Page, PageQuery
from bootserve.servers.admin.routing import Answer, Request

__all__ = [
    "HookList",
    "HookOut",
    "HookRunOut",
    "HookTestBody",
    "HookTestOut",
    "RebootBody",
    "RebootList",
    "RebootOut",
    "RebootQuery",
]


class RebootBody(Request):
    """How a node is rebooted: where ``by`` is not said by its BMC if it has one, else its agent."""

    by: RebootMethod | None = None
    hooks: bool = True


class HookRunOut(Answer):
    """One attempt of a hook, with the end of what it said."""

    hook: str
    when: HookWhen
    attempt: int
    started_at: float
    ended_at: float | None
    outcome: HookOutcome
    detail: str
    output: str


class RebootOut(Answer):
    """One reboot of one node, and the attempts of its hooks in order of time.

    ``rollout`` is 0 when ``by`` asked for it by hand; ``failure`` is empty unless it went wrong;
    ``skipped`` when a hook said to leave the node out.
    """

    id: str
    node: str
    method: RebootMethod
    by: str
    rollout: int
    attempt: int
    hooks: bool
    from_generation: str
    to_generation: str
    phase: RebootPhase
    asked_at: float
    told_at: float | None
    ended_at: float | None
    up: bool | None
    done: bool
    failure: str
    skipped: bool
    detail: str
    runs: list[HookRunOut]


class RebootQuery(PageQuery):
    """Which reboots to list: of a node, of a rollout, or all."""

    node: str | None = Field(default=None, max_length=63)
    rollout: int | None = Field(default=None, ge=0, le=2**31 - 1)
    limit: int = Field(default=50, ge=1, le=500)


class RebootList(Page):
    """Reboots, the newest first."""

    reboots: list[RebootOut]


class HookOut(Answer):
    """A hook as it is declared, without what ``env`` holds and the user and password in its URL.

    Who is no viewer of the site sees of a command its program alone, of a webhook scheme and host.
    """

    name: str
    when: HookWhen
    run: list[str]
    url: str
    timeout: float
    retries: int
    pause: float
    racks: list[str]
    roles: list[str]
    on_failure: OnFailure
    signed: bool
    env: list[str]


class HookList(Answer):
    """The hooks, in the order in which they are run."""

    hooks: list[HookOut]


class HookTestBody(Request):
    """The node that a hook is tried for."""

    node: str = Field(max_length=63)


class HookTestOut(Answer):
    """What one call of a hook came to, and how many seconds it took."""

    hook: str
    node: str
    outcome: HookOutcome
    detail: str
    output: str
    seconds: float
