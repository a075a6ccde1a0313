"""A node's reboot on record: who asked for it, how far it is, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bootserve.model.hooks import HookRun
from bootserve.model.reboot import RebootMethod

__all__ = ["Reboot", "RebootPhase", "RebootShown"]


class RebootPhase(StrEnum):
    """How far a reboot is: hooks before, telling the node, waiting for it, hooks after."""

    BEFORE = "before"
    REBOOT = "reboot"
    WAITING = "waiting"
    AFTER = "after"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Reboot:
    """One reboot of one node. Times are seconds since the epoch.

    ``rollout`` is the number of the rollout that asked for it, 0 when ``by`` did by hand.
    ``told_at`` is when the node was first to be made to reboot: a boot of it that is younger is the
    proof that it did. ``up`` says, once that is known, whether it came up afterwards. ``failure``
    is why it is not to be carried further.
    """

    id: str
    node: str
    method: RebootMethod
    by: str
    asked_at: float
    rollout: int = 0
    attempt: int = 1
    hooks: bool = True
    from_generation: str = ""
    to_generation: str = ""
    phase: RebootPhase = RebootPhase.BEFORE
    told_at: float | None = None
    up: bool | None = None
    ended_at: float | None = None
    failure: str = ""
    skipped: bool = False
    detail: str = ""

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self.phase is RebootPhase.ENDED and not self.failure


@dataclass(frozen=True, slots=True)
class RebootShown:
    """A reboot and the attempts of its hooks, in order of time."""

    reboot: Reboot
    runs: tuple[HookRun, ...] = ()
