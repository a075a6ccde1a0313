"""The three parts of a reboot, each on record and each able to be taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from bootserve.core.snapshot import Snapshot
from bootserve.model.desired import Node
from bootserve.model.hooks import HookWhen
from bootserve.model.reboot import RebootOutcome
from bootserve.model.reboot_record import Reboot, RebootPhase
from bootserve.servers.reboots.agents import AgentRequests
from bootserve.servers.reboots.hooks import HookRunner
from bootserve.servers.reboots.ledger import Ledger
from bootserve.servers.reboots.methods import Methods

__all__ = ["Steps"]


class Steps:
    """Carries single steps of reboots out. ``snapshot`` returns the one in force."""

    def __init__(
        self,
        ledger: Ledger,
        hooks: HookRunner,
        methods: Methods,
        agents: AgentRequests,
        snapshot: Callable[[], Snapshot],
    ) -> None:
        self.ledger = ledger
        self.hooks = hooks
        self._methods = methods
        self._agents = agents
        self._snapshot = snapshot

    async def begin(self, wanted: Reboot) -> Reboot:
        """Put ``wanted`` on record, with what its node runs, and return what is on record."""
        history = await self.ledger.last_boot(wanted.node)
        running = "" if history is None else history.running
        shown = await self.ledger.begin(replace(wanted, from_generation=running))
        return shown.reboot

    def _node(self, reboot: Reboot) -> Node | None:
        plan = self._snapshot().plans.get(reboot.node)
        return None if plan is None else plan.node

    async def before(self, reboot: Reboot) -> tuple[Reboot, RebootOutcome]:
        """Run the hooks before it; where they fail, why is on record."""
        if reboot.phase is not RebootPhase.BEFORE:
            return reboot, RebootOutcome(True, reboot.detail)
        node = self._node(reboot)
        if node is None:
            return await self._fail(reboot, f"there is no node {reboot.node} any more")
        if reboot.hooks:
            verdict = await self.hooks.run_all(reboot, node, HookWhen.BEFORE)
            if verdict.failure:
                return await self._fail(reboot, verdict.failure, skipped=verdict.skipped)
            if verdict.ignored:
                reboot = await self.ledger.change(reboot, detail="; ".join(verdict.ignored))
        reboot = await self.ledger.change(reboot, phase=RebootPhase.REBOOT)
        return reboot, RebootOutcome(True, reboot.detail)

    async def tell(self, reboot: Reboot) -> tuple[Reboot, RebootOutcome]:
        """Make the node reboot; a node that could not be told so was left alone."""
        if reboot.phase not in (RebootPhase.BEFORE, RebootPhase.REBOOT):
            return reboot, RebootOutcome(True, reboot.detail)
        node = self._node(reboot)
        if node is None:
            return await self._fail(reboot, f"there is no node {reboot.node} any more")
        if reboot.told_at is None:
            reboot = await self.ledger.change(reboot, told_at=time.time())
        outcome = await self._methods.reboot(reboot, node)
        if not outcome.done:
            if await self.ledger.booted_since(reboot.node, reboot.told_at) is None:
                reboot = await self.ledger.change(reboot, told_at=None)
            return await self._fail(reboot, outcome.detail)
        reboot = await self.ledger.change(
            reboot, phase=RebootPhase.WAITING, detail=_joined(reboot.detail, outcome.detail)
        )
        return reboot, outcome

    async def after(self, reboot: Reboot, *, up: bool) -> tuple[Reboot, RebootOutcome]:
        """Run the hooks after it, and end it.

        A node that came up is brought back to service, and one that was not made to reboot too, if
        a hook has run for it. One that was and did not come up stays out of service.
        """
        self._agents.withdraw(reboot.node, reboot.id)
        reboot = await self.ledger.change(reboot, phase=RebootPhase.AFTER, up=up)
        node, told = self._node(reboot), reboot.told_at is not None
        touched = told or any(
            run.when is HookWhen.BEFORE for run in await self.ledger.runs(reboot.id)
        )
        detail = reboot.detail
        failure, skipped = reboot.failure, reboot.skipped
        if told and not up:
            failure = failure or "it did not come up: the hooks after the reboot are not run"
        elif reboot.hooks and touched and node is not None:
            verdict = await self.hooks.run_all(reboot, node, HookWhen.AFTER, rebooted=told)
            detail = _joined(detail, *verdict.ignored)
            if not failure:
                failure, skipped = verdict.failure, verdict.skipped
        reboot = await self.ledger.change(
            reboot,
            phase=RebootPhase.ENDED,
            ended_at=time.time(),
            failure=failure,
            skipped=skipped,
            detail=detail,
        )
        return reboot, _outcome(reboot)

    async def _fail(
        self, reboot: Reboot, failure: str, *, skipped: bool = False
    ) -> tuple[Reboot, RebootOutcome]:
        reboot = await self.ledger.change(reboot, failure=failure, skipped=skipped)
        return reboot, _outcome(reboot)

    async def drop(self, reboot: Reboot, why: str) -> Reboot:
        """End ``reboot`` where it stands."""
        self._agents.withdraw(reboot.node, reboot.id)
        return await self.ledger.change(
            reboot, phase=RebootPhase.ENDED, ended_at=time.time(), failure=why
        )


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)


def _outcome(reboot: Reboot) -> RebootOutcome:
    return RebootOutcome(not reboot.failure, reboot.failure or reboot.detail, reboot.skipped)
