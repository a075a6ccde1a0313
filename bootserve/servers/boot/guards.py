"""What stands between a node's request and its plan: retries, loops and one-shot actions."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bootserve.core.loops import LoopGuard
from bootserve.core.minting import Minter
from bootserve.core.once import once_plan
from bootserve.core.resolve import Action
from bootserve.core.scripts import BootLine, ScriptRenderer
from bootserve.core.snapshot import NodePlan, Snapshot
from bootserve.model.boot import Boot
from bootserve.model.degraded import Degraded
from bootserve.model.generation import Generation
from bootserve.model.names import Mac
from bootserve.servers.boot.known_good import KnownGoodDesk
from bootserve.servers.boot.once import OnceDesk

__all__ = ["Guards"]


@dataclass(frozen=True, slots=True)
class Guards:
    """One of each for the whole server, shared by its interfaces."""

    minter: Minter
    loops: LoopGuard
    once: OnceDesk
    known_good: KnownGoodDesk

    def forget_all_but(self, snapshot: Snapshot) -> None:
        """Drop what is kept of nodes and MACs that are not in ``snapshot``."""
        self.minter.forget_all_but(snapshot.by_mac.keys())
        self.loops.forget_all_but(snapshot.by_mac.keys())
        self.once.keep_only(snapshot.state.nodes.keys())

    def concern(
        self, plan: NodePlan, mac: Mac, generation: Generation, address: str, at: float
    ) -> bool:
        """Whether a request may have to be answered otherwise than with a new boot; quick."""
        return (
            self.once.concerns(plan.node.name)
            or plan.node.name in self.known_good.suspects
            or not self.loops.clear(mac)
            or self.minter.retried(mac, generation.digest, address, at) is not None
        )

    def minted(self, boot: Boot, now: float) -> None:
        """Record that ``boot`` was minted at ``now`` (monotonic seconds)."""
        self.minter.minted(boot)
        self.loops.served(boot.mac, now)
        self.known_good.minted(boot)

    def chosen(self, snapshot: Snapshot, plan: NodePlan) -> tuple[NodePlan, Degraded | None]:
        """Return what a node gets: its plan, or its last known good generation and by what."""
        if plan.node.name not in self.known_good.suspects:
            return plan, None
        return self.known_good.choose(snapshot, plan)

    def preview(
        self,
        scripts: ScriptRenderer,
        snapshot: Snapshot,
        plan: NodePlan,
        line: BootLine,
        *,
        whole: bool = False,
    ) -> str:
        """Return what the NIC of ``line`` would be served now; nothing is minted or consumed.

        ``whole`` shows the text of a one-shot script, which is for admins.
        """
        once = self.once.pending(plan.node.name)
        if once is not None:
            if whole and once.script:
                return once.script
            return scripts.for_node(snapshot, once_plan(plan, once, snapshot.generations), line)
        plan, _ = self.chosen(snapshot, plan)
        waiting = self.loops.waiting([line.mac], time.monotonic(), scripts_only=True)
        if waiting is not None and plan.resolution.action in (Action.BOOT, Action.LOCAL):
            return scripts.waiting(plan, line, waiting.reason, waiting.seconds)
        return scripts.for_node(snapshot, plan, line)
