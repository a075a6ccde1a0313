"""Reboots of nodes within a rollout: what is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bootserve.model.generation import GenerationRef

__all__ = ["RebootMethod", "RebootOutcome", "RebootTask", "Rebooter"]


class RebootMethod(StrEnum):
    """Who reboots a rollout's nodes.

    ``none``: somebody does, by hand, and the rollout waits. ``agent``: the node itself, asked in
    the answer to its heartbeat. ``redfish``: its BMC. ``hook``: a command or webhook.
    """

    NONE = "none"
    AGENT = "agent"
    REDFISH = "redfish"
    HOOK = "hook"


@dataclass(frozen=True, slots=True)
class RebootTask:
    """One reboot of one node: by which rollout, into which generation, the how manieth attempt.

    ``rollout`` is the rollout's number; ``attempt`` counts from 1. After a restart of the server
    the same task may be carried out once more: its parts have to bear that.
    """

    rollout: int
    node: str
    attempt: int
    method: RebootMethod
    generation: GenerationRef

    @property
    def id(self) -> str:
        """A name of this task that is the same after a restart: ``rollout-3-r12n01-1``."""
        return f"rollout-{self.rollout}-{self.node}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class RebootOutcome:
    """Whether one part of a task was done, and in words how it went.

    ``skipped`` goes with one that was not done: a hook of ``on_failure = "skip"`` said so, which
    means that the node is to be left out and has not failed.
    """

    done: bool
    detail: str = ""
    skipped: bool = False


class Rebooter(Protocol):
    """What a rollout has done with a node, in this order: before, reboot, after.

    Each part keeps its own time limits and retries, and returns an outcome in place of raising;
    it is cancelled when the rollout is aborted or the server stops. A part that is not done fails
    the node.
    """

    async def before(self, task: RebootTask) -> RebootOutcome:
        """Run the hooks before the node's reboot."""

    async def reboot(self, task: RebootTask) -> RebootOutcome:
        """Have the node reboot; returns once it was made to, not once it is back."""

    async def after(self, task: RebootTask, *, up: bool) -> RebootOutcome:
        """Run the hooks after it; ``up`` is whether it came up as it should."""
