"""What a rollout has done with a node: the Rebooter of ``model.reboot``, on record."""

from __future__ import annotations

import time

from bootserve.model.reboot import RebootOutcome, RebootTask
from bootserve.model.reboot_record import Reboot
from bootserve.servers.reboots.desk import RebootDesk
from bootserve.servers.reboots.steps import Steps

__all__ = ["RolloutRebooter"]


class RolloutRebooter:
    """Carries a rollout's tasks out; a task that is carried out again goes on where it was.

    An admin's own reboot of the same node comes first.
    """

    def __init__(self, steps: Steps, desk: RebootDesk) -> None:
        self._steps = steps
        self._desk = desk

    async def before(self, task: RebootTask) -> RebootOutcome:
        """Run the hooks before the node's reboot, but for those that have succeeded."""
        await self._desk.idle(task.node)
        reboot = await self._steps.begin(_record(task))
        if reboot.failure:
            return RebootOutcome(False, reboot.failure, reboot.skipped)
        _, outcome = await self._steps.before(reboot)
        return outcome

    async def reboot(self, task: RebootTask) -> RebootOutcome:
        """Have the node reboot."""
        reboot = await self._steps.begin(_record(task))
        if reboot.failure:
            return RebootOutcome(False, reboot.failure, reboot.skipped)
        _, outcome = await self._steps.tell(reboot)
        return outcome

    async def after(self, task: RebootTask, *, up: bool) -> RebootOutcome:
        """Run the hooks after it, if it is up or was not rebooted, and end the record."""
        reboot = await self._steps.begin(_record(task))
        if reboot.ended_at is not None:
            detail = reboot.failure or reboot.detail
            return RebootOutcome(not reboot.failure, detail, reboot.skipped)
        _, outcome = await self._steps.after(reboot, up=up)
        return outcome


def _record(task: RebootTask) -> Reboot:
    return Reboot(
        id=task.id,
        node=task.node,
        method=task.method,
        by=f"rollout {task.rollout}",
        asked_at=time.time(),
        rollout=task.rollout,
        attempt=task.attempt,
        to_generation=str(task.generation),
    )
