"""The ways to make a node reboot: its agent, its BMC, a hook, or an admin's hand."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bootserve.errors import BootserveError
from bootserve.model.desired import Node
from bootserve.model.hooks import HookWhen
from bootserve.model.reboot import RebootMethod, RebootOutcome
from bootserve.model.reboot_record import Reboot
from bootserve.servers.reboots.agents import AgentRequests
from bootserve.servers.reboots.hooks import HookRunner
from bootserve.servers.reboots.ledger import Ledger
from bootserve.servers.reboots.redfish import Redfish

__all__ = ["Methods", "Patience"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds.

    ``agent``: for a heartbeat to answer. ``graceful``: for a restart that a BMC asked the node for
    to lead to a new boot, before it is forced. ``up``: from then on, for the node to report up.
    ``poll``: between two looks at the node's boots.
    """

    agent: float = 600.0
    graceful: float = 900.0
    up: float = 1800.0
    poll: float = 2.0


class Methods:
    """Makes nodes reboot. Each way bears being taken again after a restart of the server."""

    def __init__(
        self,
        ledger: Ledger,
        hooks: HookRunner,
        agents: AgentRequests,
        redfish: Redfish,
        patience: Patience,
    ) -> None:
        self._ledger = ledger
        self._hooks = hooks
        self._agents = agents
        self._redfish = redfish
        self._patience = patience

    async def reboot(self, reboot: Reboot, node: Node) -> RebootOutcome:
        """Make ``node`` reboot; ``reboot.told_at`` is when that was first begun.

        Returns once it was made to, at once if it has booted since ``told_at``.
        """
        boot = await self._ledger.booted_since(node.name, reboot.told_at)
        if boot is not None:
            return RebootOutcome(True, "it has booted meanwhile")
        try:
            match reboot.method:
                case RebootMethod.AGENT:
                    return await self._by_agent(reboot, node)
                case RebootMethod.REDFISH:
                    return await self._by_bmc(reboot, node)
                case RebootMethod.HOOK:
                    return await self._by_hook(reboot, node)
                case RebootMethod.NONE:
                    return RebootOutcome(True, "somebody has to reboot it")
        except BootserveError as error:
            return RebootOutcome(False, _said(error))

    async def _by_agent(self, reboot: Reboot, node: Node) -> RebootOutcome:
        """Wait until its heartbeat was answered so, or it comes up from another boot meanwhile."""
        seconds = self._patience.agent
        if await self._agents.ask(node.name, reboot.id, seconds):
            return RebootOutcome(True, "its agent was asked to reboot it")
        return RebootOutcome(
            False,
            f"no heartbeat of it came within {seconds:g} s, so its agent could not be asked."
            " See 'bootserve boots'; reboot it by redfish, by a hook or by hand.",
        )

    async def _by_bmc(self, reboot: Reboot, node: Node) -> RebootOutcome:
        """Ask gently, and force it when no new boot is seen in time.

        Once its BMC has taken the first, the node may be going down: that it could not be forced
        does not mean that it was left alone.
        """
        detail = await self._redfish.restart(node, force=False)
        if await self._new_boot(reboot, self._patience.graceful):
            return RebootOutcome(True, detail)
        try:
            forced = await self._redfish.restart(node, force=True)
        except BootserveError as error:
            forced = f"it could not be forced: {_said(error)}"
        return RebootOutcome(
            True, f"{detail}; nothing came of it in {self._patience.graceful:g} s, and {forced}"
        )

    async def _by_hook(self, reboot: Reboot, node: Node) -> RebootOutcome:
        hooks = self._hooks.of(node, HookWhen.REBOOT)
        if not hooks:
            return RebootOutcome(
                False,
                'no hook with when = "reboot" is declared for it. Declare one in the settings'
                " (docs/reboots.md), or reboot it another way.",
            )
        verdict = await self._hooks.run_all(reboot, node, HookWhen.REBOOT)
        names = ", ".join(hook.name for hook in hooks)
        return RebootOutcome(not verdict.failure, verdict.failure or f"by hook {names}")

    async def _new_boot(self, reboot: Reboot, seconds: float) -> bool:
        """Return whether a boot of the node begins within ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            if await self._ledger.booted_since(reboot.node, reboot.told_at) is not None:
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(min(self._patience.poll, max(deadline - time.monotonic(), 0.01)))


def _said(error: BootserveError) -> str:
    return f"{error}. {error.hint}".rstrip(". ") + "."
