"""Runs the hooks of a reboot, each until it has succeeded or is given up, and keeps the record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bootserve.core.hooks import hooks_for
from bootserve.core.reboots import GivenUp, Passed, Verdict, call_of, standing, verdict_of
from bootserve.errors import NotFound
from bootserve.model.desired import Node
from bootserve.model.hooks import Hook, HookCall, HookRun, HookWhen
from bootserve.model.reboot_record import Reboot
from bootserve.servers.reboots.command import run_command
from bootserve.servers.reboots.ledger import Ledger
from bootserve.servers.reboots.result import HookResult
from bootserve.servers.reboots.webhook import call_webhook

__all__ = ["HookRunner", "call_hook"]


async def call_hook(hook: Hook, call: HookCall) -> HookResult:
    """Make one call of ``hook`` and return what became of it; never raises an error."""
    return await (run_command(hook, call) if hook.run else call_webhook(hook, call))


class HookRunner:
    """The hooks that the settings declare. ``log`` is a structlog logger."""

    def __init__(self, hooks: tuple[Hook, ...], ledger: Ledger, log: Any) -> None:
        self.hooks = hooks
        self._by_name: Mapping[str, Hook] = {hook.name: hook for hook in hooks}
        self._ledger = ledger
        self._log = log

    def find(self, name: str) -> Hook:
        """Return the hook called ``name``; raises NotFound."""
        hook = self._by_name.get(name)
        if hook is None:
            raise NotFound(f"there is no hook {name}", hint="See 'bootserve hooks list'.")
        return hook

    def of(self, node: Node, when: HookWhen) -> tuple[Hook, ...]:
        """Return the hooks that are run at ``when`` for ``node``."""
        return hooks_for(self.hooks, node, when)

    async def run_all(
        self, reboot: Reboot, node: Node, when: HookWhen, *, rebooted: bool = False
    ) -> Verdict:
        """Run the hooks of ``when`` that have not succeeded yet, in order, and say what it means.

        Before a reboot and for it the first that is given up ends it; afterwards all are run.
        """
        given_up = []
        for hook in self.of(node, when):
            failure = await self._run(hook, reboot, node, rebooted)
            if failure is not None:
                given_up.append((hook, failure))
                if when is not HookWhen.AFTER and verdict_of(given_up).failure:
                    break
        return verdict_of(given_up)

    async def _run(self, hook: Hook, reboot: Reboot, node: Node, rebooted: bool) -> GivenUp | None:
        """Try ``hook`` as often as it may be; return why it is given up, or None."""
        while True:
            runs = await self._ledger.runs(reboot.id)
            now = time.time()
            match standing(hook, runs, reboot.id, now):
                case Passed():
                    return None
                case GivenUp() as failure:
                    return failure
                case attempt:
                    # A clock that was set back must not make this wait for ever.
                    await asyncio.sleep(min(max(attempt.at - now, 0.0), 3600.0))
                    await self._attempt(hook, reboot, node, attempt.number, rebooted)

    async def _attempt(
        self, hook: Hook, reboot: Reboot, node: Node, number: int, rebooted: bool
    ) -> None:
        run = HookRun(hook.name, hook.when, number, time.time())
        await self._ledger.started(reboot, run)
        call = call_of(hook, reboot, node, attempt=number, rebooted=rebooted)
        result = await call_hook(hook, call)
        done = replace(
            run,
            outcome=result.outcome,
            ended_at=time.time(),
            detail=result.detail,
            output=result.output,
            final=result.final,
            wait=result.wait,
        )
        await self._ledger.finished(reboot, done)
        self._log.info(
            "hook",
            hook=hook.name,
            when=str(hook.when),
            node=node.name,
            reboot=reboot.id,
            attempt=number,
            outcome=str(result.outcome),
            detail=result.detail,
        )
