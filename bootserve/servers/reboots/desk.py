"""Reboots that admins ask for: one at a time for a node, to their end, over restarts too."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from bootserve.core.resolve import Action
from bootserve.core.snapshot import NodePlan
from bootserve.errors import Conflict, NotFound, Unavailable
from bootserve.model.boot import Phase
from bootserve.model.reboot import RebootMethod
from bootserve.model.reboot_record import Reboot, RebootPhase
from bootserve.servers.reboots.bmcs import BMC_LABEL
from bootserve.servers.reboots.methods import Patience
from bootserve.servers.reboots.steps import Steps

__all__ = ["RebootDesk"]


class RebootDesk:
    """The reboots under way that were asked for by hand. ``log`` is a structlog logger."""

    def __init__(self, steps: Steps, patience: Patience, log: Any) -> None:
        self._steps = steps
        self._patience = patience
        self._log = log
        self._work: dict[str, asyncio.Task[None]] = {}
        self._reboots: dict[str, Reboot] = {}
        self._starting: set[str] = set()
        self._cancelled_by: dict[str, str] = {}
        self._resumed = asyncio.Event()
        self._stopping = False

    async def resume(self) -> None:
        """Take up what had not ended when the server did."""
        for shown in await self._steps.ledger.unfinished():
            reboot = (await self._steps.ledger.begin(shown.reboot)).reboot
            self._log.info("reboot goes on", node=reboot.node, id=reboot.id, phase=reboot.phase)
            self._launch(reboot)
        self._resumed.set()

    async def stop(self) -> None:
        """Leave off; what is under way goes on after the next start."""
        self._stopping = True
        for task in list(self._work.values()):
            task.cancel()
        for task in list(self._work.values()):
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def start(
        self, plan: NodePlan, method: RebootMethod | None, by: str, *, hooks: bool
    ) -> Reboot:
        """Begin to reboot the node of ``plan`` and return the reboot.

        ``method`` None is by its BMC if it has one, and else by its agent. Raises Conflict when it
        is being rebooted, Unavailable when the database is away, or was until now.
        """
        name = plan.node.name
        if not self._resumed.is_set():
            raise Unavailable(
                "what was being rebooted when the server stopped is not taken up yet",
                hint="Try again soon.",
            )
        if name in self._work or name in self._starting:
            raise Conflict(
                f"node {name} is being rebooted already",
                hint=f"'bootserve reboots {name}' shows how far it is; 'bootserve reboot {name}"
                " --cancel' leaves it off.",
            )
        self._starting.add(name)
        try:
            attempt = await self._steps.ledger.next_attempt(name)
            reboot = await self._steps.begin(_wanted(plan, method, by, attempt, hooks=hooks))
            self._launch(reboot)
        finally:
            self._starting.discard(name)
        self._log.info("reboot", node=name, id=reboot.id, method=str(reboot.method), by=by)
        return reboot

    async def cancel(self, node: str, by: str) -> Reboot:
        """Leave the reboot of ``node`` off where it stands; no more of its hooks are run.

        Raises NotFound when none is under way.
        """
        task = self._work.get(node)
        if task is None:
            raise NotFound(f"no reboot of {node} is under way")
        if node not in self._cancelled_by:  # once: what puts it on record is not to be cancelled
            self._cancelled_by[node] = by
            task.cancel()
        await asyncio.wait([task])
        return self._reboots[node]

    async def idle(self, node: str) -> None:
        """Wait until no reboot of ``node`` by hand is under way."""
        await self._resumed.wait()
        while node in self._work or node in self._starting:
            await asyncio.wait([self._work.get(node) or asyncio.create_task(asyncio.sleep(0.1))])

    def _launch(self, reboot: Reboot) -> None:
        self._reboots[reboot.node] = reboot
        task = asyncio.get_running_loop().create_task(self._whole(reboot))
        self._work[reboot.node] = task
        task.add_done_callback(lambda _: self._forget(reboot.node))

    def _forget(self, node: str) -> None:
        self._work.pop(node, None)
        self._cancelled_by.pop(node, None)

    async def _whole(self, reboot: Reboot) -> None:
        try:
            reboot = await self._carry(reboot)
        except asyncio.CancelledError:
            if self._stopping:
                raise
            by = self._cancelled_by.get(reboot.node, "the server")
            reboot = await self._steps.drop(reboot, f"cancelled by {by}")
        except Exception as error:
            self._log.exception("reboot", node=reboot.node, id=reboot.id)
            reboot = await self._steps.drop(reboot, f"the server failed: {error}")
        self._reboots[reboot.node] = reboot
        self._log.info(
            "rebooted" if reboot.done else "not rebooted",
            node=reboot.node,
            id=reboot.id,
            detail=reboot.failure or reboot.detail,
        )

    async def _carry(self, reboot: Reboot) -> Reboot:
        """Take the steps that are left."""
        steps = self._steps
        if reboot.phase is RebootPhase.BEFORE and not reboot.failure:
            reboot, _ = await steps.before(reboot)
        if reboot.phase is RebootPhase.REBOOT and not reboot.failure:
            reboot, _ = await steps.tell(reboot)
        up = bool(reboot.up)
        if reboot.phase is RebootPhase.WAITING:
            up = await self._came_up(reboot)
        reboot, _ = await steps.after(reboot, up=up)
        return reboot

    async def _came_up(self, reboot: Reboot) -> bool:
        """Wait until the node has reported up; one that is rebooted by hand is waited for."""
        limit = time.monotonic() + self._patience.up
        while True:
            found = await self._steps.ledger.booted_since(reboot.node, reboot.told_at)
            if found is not None and any(one.phase is Phase.UP for one in found.phases):
                return True
            if time.monotonic() > limit and reboot.method is not RebootMethod.NONE:
                return False
            await asyncio.sleep(self._patience.poll)


def _wanted(
    plan: NodePlan, method: RebootMethod | None, by: str, attempt: int, *, hooks: bool
) -> Reboot:
    node, resolution = plan.node, plan.resolution
    if method is None:
        by_bmc = BMC_LABEL in dict(node.labels)
        method = RebootMethod.REDFISH if by_bmc else RebootMethod.AGENT
    goal = resolution.generation if resolution.action is Action.BOOT else None
    return Reboot(
        id=f"reboot-{node.name}-{attempt}",
        node=node.name,
        method=method,
        by=by,
        asked_at=time.time(),
        attempt=attempt,
        hooks=hooks,
        to_generation=str(goal.ref) if goal is not None else "",
    )
