"""A rollout while its next step is worked out: what changed so far, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bootserve.model.desired import Pin
from bootserve.model.rollout import (
    FINAL,
    Member,
    MemberState,
    Rollout,
    RolloutEvent,
    RolloutState,
    Sighting,
    StageFailure,
)

__all__ = ["Work"]


class Work:
    """The rollout as it was, and what becomes of it at ``now``.

    ``since`` is when the server began to listen; both are seconds since the epoch.
    """

    def __init__(self, rollout: Rollout, now: float, since: float = 0.0) -> None:
        self.rollout = rollout
        self.now = now
        self._since = since
        self._changed: dict[str, Member] = {}
        self._events: list[RolloutEvent] = []
        self._fields: dict[str, Any] = {}

    @property
    def state(self) -> RolloutState:
        """The rollout's state, as far as it was worked out."""
        found: RolloutState = self._fields.get("state", self.rollout.state)
        return found

    @property
    def winding_down(self) -> bool:
        """Whether nodes under way are only seen through: their pins are back where they were."""
        if self.state is RolloutState.FAILED:
            return self.rollout.policy.on_failure is StageFailure.ROLLBACK
        return self.state is RolloutState.ABORTED

    def member(self, node: str) -> Member | None:
        """Return the member of this name as it is now."""
        return self._changed.get(node) or self.rollout.members.get(node)

    def members(self) -> Iterator[Member]:
        """Yield every member as it is now."""
        for name, member in self.rollout.members.items():
            yield self._changed.get(name, member)

    def unsettled(self) -> Iterator[Member]:
        """Yield the members of the stages entered that are not where they end, as they are now."""
        return (
            one
            for one in self.members()
            if one.stage <= self.rollout.stage and one.state not in FINAL
        )

    def late(self, member: Member) -> bool:
        """Whether ``member`` has taken too long to report up."""
        return self._over(member.since, self.rollout.policy.node_timeout)

    def soaked(self, member: Member, seen: Sighting) -> bool:
        """Whether ``member`` is known to have stayed up for the soak time.

        One that sends heartbeats has to say so when it is over: that it said nothing else is no
        word of it. Time when nobody listened is no time here either.
        """
        end = max(member.since, self._since) + self.rollout.policy.soak
        return (seen.heard_at if seen.agent else self.now) >= end

    @property
    def stage_late(self) -> bool:
        """Whether the stage has taken too long."""
        return self._over(self.rollout.stage_since, self.rollout.policy.stage_timeout)

    def _over(self, since: float, timeout: float) -> bool:
        """Whether ``timeout`` (s, 0 for none) has passed; time when nobody listened is no time."""
        return timeout > 0 and self.now - max(since, self._since) >= timeout

    def put(self, member: Member, state: MemberState, **changes: Any) -> Member:
        """Let ``member`` be in ``state``, since now unless ``changes`` say otherwise."""
        return self.amend(member, **{"state": state, "since": self.now, "detail": "", **changes})

    def amend(self, member: Member, **changes: Any) -> Member:
        """Change fields of ``member`` and return it."""
        made = replace(member, **changes)
        if made != member:
            self._changed[member.node] = made
        return made

    def tell(self, text: str, node: str = "") -> None:
        """Add a line to the rollout's story."""
        self._events.append(RolloutEvent(self.now, text, node))

    def pause(self, reason: str) -> None:
        """Let the rollout be paused."""
        self._fields |= {"state": RolloutState.PAUSED, "reason": reason, "paused_at": self.now}
        self.tell(reason)

    def resume(self, base: Pin | None, text: str) -> None:
        """Let the rollout run again; what it was paused for does not count for its stage."""
        paused = self.now - self.rollout.paused_at if self.rollout.paused_at else 0.0
        self._fields |= {
            "state": RolloutState.RUNNING,
            "reason": "",
            "paused_at": 0.0,
            "ended_at": 0.0,
            "base": base,
            "stage_since": self.rollout.stage_since + paused,
        }
        self.tell(text)

    def stage(self, stage: int) -> None:
        """Let ``stage`` be the one under way, from now on."""
        self._fields |= {"stage": stage, "stage_since": self.now}

    def end(self, state: RolloutState, reason: str) -> None:
        """Let the rollout be over, in ``state``."""
        self._fields |= {"state": state, "reason": reason, "ended_at": self.now, "paused_at": 0.0}

    def result(self) -> tuple[Rollout, tuple[Member, ...], tuple[RolloutEvent, ...]]:
        """Return the rollout as it is now, the members that changed, and what happened."""
        if not self._changed and not self._events and not self._fields:
            return self.rollout, (), ()
        members = {**self.rollout.members, **self._changed} if self._changed else None
        fields = self._fields if members is None else {**self._fields, "members": members}
        made = replace(self.rollout, version=self.rollout.version + 1, **fields)
        return made, tuple(self._changed.values()), tuple(self._events)
