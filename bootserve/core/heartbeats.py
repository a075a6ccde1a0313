"""What each node reports now: a book of heartbeats, and how often they are to come.

A state machine without I/O: ``now`` is seconds since the epoch, since these times are shown. It
holds one entry a node, so its memory is bounded by the number of nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from math import ceil

from bootserve.model.drift import DriftChange, DriftEntry, Heartbeat
from bootserve.model.generation import GenerationRef

__all__ = ["LONGEST_INTERVAL", "HeartbeatBook", "Running", "Wishes", "stretch"]

LONGEST_INTERVAL = 3600.0
MAX_CHANGES = 500
"""So many changes of one boot's drift are kept in its history; what it is now is always known."""


def stretch(base: float, nodes: int, limit: float) -> float:
    """Return the seconds between two heartbeats of one node: ``base``, or more under load.

    ``nodes`` nodes together then send at most ``limit`` heartbeats a second. Never more than an
    hour, or than ``base`` if that is longer.
    """
    return max(base, min(ceil(nodes / limit), LONGEST_INTERVAL))


@dataclass(slots=True)
class Running:
    """What a node said last that it runs.

    ``generation`` and ``digest`` are those of its boot, ``expected_root`` the root's digest that
    its script named; ``root`` is what the node itself found. ``up_since`` and ``last_seen`` are
    seconds since the epoch on the server's clock; ``uptime`` is the node's, in seconds. ``offset``
    is its clock less the server's, in seconds, None when unknown. ``interval`` is when its next
    heartbeat is due, in seconds. ``sealed`` is the digest of the snapshot that was taken at up, and
    ``baseline`` of the one it goes by now. ``drift`` is the digest of its drift; ``entries``, of
    ``count``, are the drift with the digest ``known``, since ``drift_since``. ``agent`` is whether
    it sends heartbeats at all. ``token_hash`` is the sha256 of its boot's token.
    """

    node: str
    boot: str
    generation: GenerationRef
    digest: str
    expected_root: str
    token_hash: str
    up_since: float
    last_seen: float
    root: str = ""
    uptime: float = 0.0
    offset: float | None = None
    interval: float = 60.0
    sealed: str = ""
    baseline: str = ""
    drift: str = ""
    known: str = ""
    entries: tuple[DriftEntry, ...] = ()
    count: int = 0
    drift_since: float = 0.0
    rebooting: str = ""
    agent: bool = False
    silent: bool = False
    changes: int = 0


class HeartbeatBook:
    """What each node runs, by node and by boot; a node runs the boot that it spoke of last."""

    def __init__(self) -> None:
        self._nodes: dict[str, Running] = {}
        self._boots: dict[str, Running] = {}

    def __len__(self) -> int:
        """How many nodes have reported."""
        return len(self._nodes)

    def __iter__(self) -> Iterator[Running]:
        """Yield what every node runs."""
        return iter([*self._nodes.values()])

    def of(self, node: str) -> Running | None:
        """Return what ``node`` reports now, or None when it never did."""
        return self._nodes.get(node)

    def at_boot(self, boot: str) -> Running | None:
        """Return what the node of this boot reports now, if it runs that boot still."""
        return self._boots.get(boot)

    def put(self, running: Running) -> None:
        """Enter that a node runs this boot, in place of what it ran before."""
        before = self._nodes.get(running.node)
        if before is not None:
            self._boots.pop(before.boot, None)
        self._nodes[running.node] = self._boots[running.boot] = running

    def restore(self, known: Iterable[Running]) -> None:
        """Enter what was known before a restart, unless a node has spoken since."""
        for running in known:
            if running.node not in self._nodes:
                self.put(running)

    def forget_all_but(self, nodes: Collection[str]) -> None:
        """Drop what is known of nodes that are no more."""
        for name in [name for name in self._nodes if name not in nodes]:
            self._boots.pop(self._nodes.pop(name).boot, None)

    @staticmethod
    def heard(running: Running, said: Heartbeat, interval: float, now: float) -> bool:
        """Take in a heartbeat whose sender is told to send the next after ``interval`` seconds.

        Return whether the node's drift is another than the one that is known.
        """
        running.agent = True
        running.last_seen, running.uptime, running.interval = now, said.uptime, interval
        running.root, running.baseline, running.drift = said.root, said.baseline, said.drift
        running.offset = None if said.clock is None else said.clock - now
        running.rebooting = said.rebooting
        return said.drift != running.known

    @staticmethod
    def altered(
        running: Running, digest: str, count: int, entries: tuple[DriftEntry, ...], now: float
    ) -> DriftChange | None:
        """Take in the drift with ``digest``; return the line of its history, if it gets one."""
        if count and not running.count:
            running.drift_since = now
        running.known, running.count, running.entries = digest, count, entries
        running.changes += 1
        if running.changes > MAX_CHANGES:
            return None
        state = "altered" if count else "unaltered"
        return DriftChange(running.node, running.boot, now, state, count, digest, entries)


class Wishes:
    """Which nodes are to reboot, and under what name that was asked for.

    It is told to the node in the answer to its next heartbeat, again and again until it comes from
    another boot.
    """

    def __init__(self) -> None:
        self._wishes: dict[str, tuple[str, str]] = {}

    def ask(self, node: str, boot: str, name: str) -> None:
        """Have ``node`` reboot out of ``boot``; ``name`` says for what (``rollout-3-n1-1``)."""
        self._wishes[node] = boot, name

    def withdraw(self, node: str) -> None:
        """Ask for it no longer."""
        self._wishes.pop(node, None)

    def wanted(self, node: str, boot: str) -> str | None:
        """Return the name under which ``node`` is to reboot out of ``boot``, or None."""
        wish = self._wishes.get(node)
        if wish is None:
            return None
        if wish[0] != boot:
            del self._wishes[node]  # it has rebooted
            return None
        return wish[1]
