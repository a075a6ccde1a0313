"""Last known good: what a node is given that does not come up with its pin's generation.

A node that was given a generation several times, fetched its root each time and never reported up
gets the last generation that it did report up with. That must not be something that a broken
report path or a forger on the wire can bring about, so all of this has to hold as well:

- the node is in a rollout, or the server is set to watch every node;
- another node's word has arrived after each of these scripts, and before the next: reports did get
  through each time. A boot of which that is not known does not count;
- the node itself has been quiet for two heartbeats, as often as it was told to send them: scripts
  fetched in the name of a node that goes on speaking by an older boot were not fetched by it, and
  are forgotten;
- at most so many nodes of a rack are on their last known good generation at once;
- that generation is one of the same image, built for the node, and neither removed nor revoked.

A state machine without I/O: ``now`` is seconds since the epoch. Only nodes under watch have an
entry, and only those that have been given one generation too often cost a script more than a
lookup.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from bootserve.core.resolve import Action, Generations, Resolution
from bootserve.core.snapshot import NodePlan
from bootserve.model.boot import Boot
from bootserve.model.degraded import Degraded
from bootserve.model.generation import Generation, GenerationRef
from bootserve.model.rollout import Sighting

__all__ = ["KnownGood", "KnownGoodLimits"]

Good = Callable[[str], GenerationRef | None]
"""Returns the last generation that a node reported up with."""

Interval = Callable[[str], float]
"""Returns how many seconds lie between two heartbeats of a node."""

QUIET_HEARTBEATS = 2


@dataclass(frozen=True, slots=True)
class KnownGoodLimits:
    """After how many ``tries``, and for how many nodes ``per_rack``.

    ``everywhere`` watches every node, in a rollout or not.
    """

    tries: int = 3
    per_rack: int = 2
    everywhere: bool = False


@dataclass(slots=True)
class _Trial:
    """The boots of one node with one generation that have come to nothing so far.

    ``boots`` has for each boot's id whether its root was fetched; another node was heard after each
    but the newest, which was minted at ``last_at``.
    """

    generation: GenerationRef
    boots: dict[str, bool] = field(default_factory=dict)
    last_at: float = 0.0
    problem: str = ""


class KnownGood:
    """Which nodes are on their last known good generation, and what speaks for more.

    ``suspects`` are the nodes for which :meth:`plan` has to be asked before a script is served;
    ``degraded`` those that are given their last known good generation, by name. ``since`` is when
    the server began to listen (epoch seconds): nobody is quiet before there was time to be heard.
    """

    def __init__(
        self, limits: KnownGoodLimits, good: Good, interval: Interval, since: float = 0.0
    ) -> None:
        self._limits = limits
        self._good = good
        self._interval = interval
        self._since = since
        self._watched: Collection[str] = ()
        self._trials: dict[str, _Trial] = {}
        self._spoke: dict[str, float] = {}
        self._last: tuple[str, float] = ("", 0.0)
        self._last_other = 0.0
        self.suspects: set[str] = set()
        self.degraded: dict[str, Degraded] = {}

    def watch(self, nodes: Collection[str]) -> None:
        """Watch exactly ``nodes`` from now on; who is degraded stays so until it is resolved."""
        self._watched = nodes
        if not self._limits.everywhere:
            for name in [name for name in self._trials if name not in nodes]:
                self._forget(name)

    def restore(self, degraded: Iterable[Degraded]) -> None:
        """Take in who was degraded before a restart."""
        for one in degraded:
            self.degraded[one.node] = one
            self.suspects.add(one.node)

    def watches(self, node: str) -> bool:
        """Whether what ``node`` is given is counted."""
        return self._limits.everywhere or node in self._watched

    def minted(self, boot: Boot) -> None:
        """Count a boot that a node was given, and the one before only if others were heard since.

        So what was counted while no report got through is nothing once one does, and nor is what
        is recalled after a restart, but for the newest.
        """
        if not self.watches(boot.node):
            return
        trial = self._trials.get(boot.node)
        if trial is None or trial.generation != boot.generation:
            trial = self._trials[boot.node] = _Trial(boot.generation)
            if boot.node not in self.degraded:
                self.suspects.discard(boot.node)
        if trial.boots and not self._heard_others(boot.node, trial.last_at, boot.minted_at):
            trial.boots.popitem()
        trial.boots[boot.id] = False
        trial.last_at = boot.minted_at
        while len(trial.boots) > self._limits.tries:
            del trial.boots[next(iter(trial.boots))]
        if len(trial.boots) == self._limits.tries:
            self.suspects.add(boot.node)

    def rooted(self, node: str, boot: str) -> None:
        """Note that a boot's root was fetched."""
        trial = self._trials.get(node)
        if trial is not None and boot in trial.boots:
            trial.boots[boot] = True

    def spoke(self, node: str, boot: str, generation: GenerationRef, now: float) -> Degraded | None:
        """Note that ``node`` is up with ``boot`` of ``generation``, by a report or a heartbeat.

        Returns what it was degraded by, where that is over with it.
        """
        if self._last[0] != node:
            self._last_other = self._last[1]
        self._last = node, now
        if self.watches(node):
            self._spoke[node] = now
        trial = self._trials.get(node)
        if trial is not None:
            newer = {one: rooted for one, rooted in trial.boots.items() if one > boot}
            if newer or boot in trial.boots:  # it is up, so none of these were its own
                self._forget(node)
        mark = self.degraded.get(node)
        if mark is not None and (boot < mark.boot or generation == mark.instead_of):
            return self.release(node)  # it never went down, or it came up after all
        return None

    def release(self, node: str) -> Degraded | None:
        """Forget what was counted of ``node``; return what it was degraded by, if it was."""
        self._forget(node)
        mark = self.degraded.pop(node, None)
        self.suspects.discard(node)
        return mark

    def marked(self, node: str, seen: Sighting | None, now: float) -> Sighting | None:
        """Return ``seen``, what ``node`` said, with what is known of its failures."""
        mark, trial = self.degraded.get(node), self._trials.get(node)
        if mark is not None:
            why = f"{mark.reason}; it is given {mark.generation} now"
            return replace(seen or Sighting(), degraded=why, failing=mark.instead_of)
        if trial is None:
            return seen
        newer = seen is not None and next(reversed(trial.boots)) > seen.boot
        return replace(
            seen or Sighting(),
            degraded=self._judge(node, trial.generation, now),
            failing=trial.generation,
            problem=trial.problem,
            newer_at=trial.last_at if newer else 0.0,
        )

    def came_up(self, node: str) -> None:
        """Forget the boots of ``node`` counted so far: it has come up since."""
        self._forget(node)

    def failed(self, node: str, why: str) -> None:
        """Note a node's own word that its boot came to nothing."""
        trial = self._trials.get(node)
        if trial is not None:
            trial.problem = why

    def _forget(self, node: str) -> None:
        self._trials.pop(node, None)
        if node not in self.degraded:
            self.suspects.discard(node)

    def _heard_others(self, node: str, since: float, until: float) -> bool:
        """Whether another node than ``node`` has spoken after ``since``, and last by ``until``."""
        name, at = self._last
        return since < (at if name != node else self._last_other) <= until

    def plan(
        self, plan: NodePlan, generations: Generations, racks: Callable[[str], str], now: float
    ) -> tuple[NodePlan, Degraded | None, bool]:
        """Return ``plan``, or what is done in its place; the mark then, and whether it is new.

        ``racks`` returns the rack of a node.
        """
        node, wanted = plan.node.name, plan.resolution.generation
        if wanted is None:
            return plan, None, False
        mark = self.degraded.get(node)
        if mark is not None and mark.instead_of == wanted.ref:
            good = self._usable(mark.generation, wanted, generations)
            if good is not None:
                return _in_place(plan, good, mark), mark, False
        reason = self._judge(node, wanted.ref, now)
        good = self._usable(self._good(node), wanted, generations) if reason else None
        if good is None or self._rack_full(plan.node.rack, node, racks):
            return plan, None, False
        mark = Degraded(node, good.ref, wanted.ref, now, reason)
        return _in_place(plan, good, mark), mark, True

    def degrade(self, mark: Degraded) -> None:
        """Keep ``mark``: from now on its node gets its last known good generation."""
        self._trials.pop(mark.node, None)
        self.degraded[mark.node] = mark
        self.suspects.add(mark.node)

    def _judge(self, node: str, wanted: GenerationRef, now: float) -> str:
        """Return why ``node`` is not to be given ``wanted`` once more; empty to give it."""
        trial, limits = self._trials.get(node), self._limits
        if trial is None or trial.generation != wanted or len(trial.boots) < limits.tries:
            return ""
        heard = max(self._spoke.get(node, 0.0), self._since)
        quiet = QUIET_HEARTBEATS * self._interval(node)
        if not all(trial.boots.values()) or now - heard < quiet:
            return ""
        if not self._heard_others(node, trial.last_at, now):
            return ""
        return f"it was given {wanted} {limits.tries} times and did not report up"

    @staticmethod
    def _usable(
        ref: GenerationRef | None, wanted: Generation, generations: Generations
    ) -> Generation | None:
        found = generations.get(ref) if ref else None
        if found is None or found.barred or found.ref == wanted.ref:
            return None
        alike = found.ref.image == wanted.ref.image
        return found if alike and found.manifest.arch is wanted.manifest.arch else None

    def _rack_full(self, rack: str, node: str, racks: Callable[[str], str]) -> bool:
        others = [name for name in self.degraded if name != node and racks(name) == rack]
        return len(others) >= self._limits.per_rack

    def resolved(
        self, wanted: Callable[[str], GenerationRef | None], generations: Generations
    ) -> list[tuple[Degraded, str]]:
        """Release and return who is no longer pinned to what it failed with, or has nothing else.

        ``wanted`` returns the generation that a node's pins come to, None for a node that is gone.
        With each comes what barred its last known good generation, empty where its pin changed.
        """
        over = []
        for mark in self.degraded.values():
            if wanted(mark.node) != mark.instead_of:
                over.append((mark, ""))
            elif barred := _barred(mark.generation, generations):
                over.append((mark, barred))
        for mark, _ in over:
            self.release(mark.node)
        return over


def _barred(ref: GenerationRef, generations: Generations) -> str:
    """Return why no node can be given ``ref``, in a sentence; empty when one can."""
    found = generations.get(ref)
    if found is None:
        return f"there is no {ref} any more"
    return f"it was given {ref}, {found.barred}" if found.barred else ""


def _in_place(plan: NodePlan, good: Generation, mark: Degraded) -> NodePlan:
    reason = f"last known good in place of {mark.instead_of} ({plan.resolution.reason}): "
    resolution = Resolution(Action.BOOT, reason + mark.reason, plan.resolution.pin, good)
    return NodePlan(plan.node, resolution, plan.kernel_args)
