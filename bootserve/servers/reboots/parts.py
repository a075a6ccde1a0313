"""Everything that reboots nodes, joined."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

from bootserve.core.snapshot import Snapshot
from bootserve.model.hooks import Hook
from bootserve.servers.dbthread import DatabaseThread
from bootserve.servers.reboots.agents import AgentRequests
from bootserve.servers.reboots.desk import RebootDesk
from bootserve.servers.reboots.hooks import HookRunner
from bootserve.servers.reboots.ledger import Ledger
from bootserve.servers.reboots.methods import Methods, Patience
from bootserve.servers.reboots.redfish import Redfish, RedfishSettings
from bootserve.servers.reboots.rollouts import RolloutRebooter
from bootserve.servers.reboots.steps import Steps
from bootserve.store.boots import BootStore
from bootserve.store.reboots import RebootStore

__all__ = ["Reboots"]


@dataclass(frozen=True, slots=True)
class Reboots:
    """The parts that others use.

    ``desk`` takes reboots asked for by hand, ``rollouts`` those of rollouts; ``agents`` says which
    nodes a heartbeat's answer asks to reboot themselves.
    """

    store: RebootStore
    desk: RebootDesk
    rollouts: RolloutRebooter
    agents: AgentRequests
    hooks: HookRunner
    redfish: Redfish

    @classmethod
    def join(
        cls,
        store: RebootStore,
        boots: BootStore,
        sql: DatabaseThread,
        flush: Callable[[], Awaitable[None]],
        snapshot: Callable[[], Snapshot],
        hooks: tuple[Hook, ...],
        agents: AgentRequests,
        bmcs: RedfishSettings,
        patience: Patience,
        log: Any,
    ) -> Self:
        """Return them, not yet started; see :class:`Ledger` and :class:`Steps` for what they take.

        ``log`` is a structlog logger.
        """
        ledger = Ledger(store, boots, sql, flush, log)
        runner = HookRunner(hooks, ledger, log)
        redfish = Redfish(bmcs)
        methods = Methods(ledger, runner, agents, redfish, patience)
        steps = Steps(ledger, runner, methods, agents, snapshot)
        desk = RebootDesk(steps, patience, log)
        return cls(store, desk, RolloutRebooter(steps, desk), agents, runner, redfish)

    async def run(self) -> None:
        """Take up what had not ended; to be cancelled when the server stops."""
        await self.desk.resume()

    async def stop(self) -> None:
        """Leave off; what is under way goes on after the next start."""
        await self.desk.stop()
        self.redfish.close()
