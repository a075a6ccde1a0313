"""Ends loops: a node that asks again and again and never gets anywhere is made to wait.

Two loops are known. A *script loop*: the script is fetched, and no report ever comes, as when a
kernel panics before its initramfs speaks, or a node shall boot its own disk and has none. A
*chainload loop*: the firmware loads the NBP, which asks as a firmware again in place of as iPXE
(its user class got lost, or it is another program), so that no script is ever asked for. Both end
the same way: after so many in so long the node waits, twice as long each time, with one attempt in
between. A report, unless it says that the boot failed, or an admin releases it.
What shows itself as an iPXE by its features, though not by its user class, is offered a script that
waits and then is its own, which ends the loop; to other firmware, which runs no script, nothing is
offered.

A state machine without I/O: ``now`` is monotonic seconds. Memory is bounded by the number of known
MACs, since only known nodes are counted.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from bootserve.core.jitter import jittered
from bootserve.core.offers import Ignored, Reply
from bootserve.model.names import Mac
from bootserve.wire.dhcp import MessageType
from bootserve.wire.pxe import PxeClient

__all__ = ["LoopGuard", "LoopLimits", "Waiting"]

FIRST_PAUSE = 30
LONGEST_PAUSE = 15 * 60


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """How many scripts without a report, and NBPs without a script, in ``window`` seconds."""

    scripts: int = 20
    nbps: int = 10
    window: float = 300.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A node is in a loop: it waits ``seconds`` more. ``new`` the first time this wait is told."""

    reason: str
    seconds: float
    new: bool = False

    @property
    def refusal(self) -> str:
        """Why there is no offer now."""
        return f"{self.reason}; no NBP is offered for {self.seconds:.0f} s"


@dataclass(slots=True)
class _Count:
    """What was counted of one MAC: when, and in ``waits`` how often it was made to wait."""

    times: array[float] = field(default_factory=lambda: array("d"))
    waits: int = 0
    until: float = 0.0

    def waiting(self, limit: int, window: float, mac: Mac, now: float) -> tuple[float, bool]:
        """Return how long to wait, in seconds, and whether that begins now; 0 to go on."""
        if now < self.until:
            return self.until - now, False
        while self.times and now - self.times[0] >= window:
            del self.times[0]
        if not self.waits:
            if len(self.times) < limit:
                return 0.0, False
        elif now - self.until >= window:
            self.waits = 0
            return 0.0, False
        elif not self.times or self.times[-1] < self.until:
            return 0.0, False  # the one attempt after a wait
        self.waits += 1
        pause = jittered(min(FIRST_PAUSE << min(self.waits - 1, 16), LONGEST_PAUSE), mac)
        self.until = now + pause
        return float(pause), True

    def add(self, limit: int, now: float) -> None:
        """Count one; no more than the last ``limit`` are remembered."""
        self.times.append(now)
        while len(self.times) > limit:
            del self.times[0]


class LoopGuard:
    """Counts what nodes ask for, by MAC, and says when one has to wait.

    ``holds`` has the MACs for which :meth:`held` need be asked.
    """

    def __init__(self, limits: LoopLimits = LoopLimits()) -> None:
        self._limits = limits
        self._scripts: dict[Mac, _Count] = {}
        self._nbps: dict[Mac, _Count] = {}  # of those whose NBP has asked for no script yet
        self.holds: set[Mac] = set()

    def __len__(self) -> int:
        return len(self._scripts.keys() | self._nbps.keys())

    def script(self, mac: Mac, now: float) -> Waiting | None:
        """Judge a request of ``mac`` for the script that boots it; None to serve it."""
        scripts = self._scripts.get(mac)
        if scripts is None:
            return None
        limits = self._limits
        seconds, new = scripts.waiting(limits.scripts, limits.window, mac, now)
        return Waiting(self._script_reason(), seconds, new) if seconds else None

    def clear(self, mac: Mac) -> bool:
        """Whether ``mac`` is far from any limit, so that :meth:`script` need not be asked."""
        scripts = self._scripts.get(mac)
        if scripts is None:
            return True
        return not scripts.waits and len(scripts.times) < self._limits.scripts

    def served(self, mac: Mac, now: float) -> None:
        """Count a script that boots ``mac``; a chainload loop, if there was one, is over."""
        scripts = self._scripts.get(mac)
        if scripts is None:
            scripts = self._scripts[mac] = _Count()
        if self._nbps:
            self._nbps.pop(mac, None)
        scripts.add(self._limits.scripts, now)

    def reached(self, mac: Mac) -> None:
        """Take note that ``mac`` asked for its script: its NBP is an iPXE that works."""
        self._nbps.pop(mac, None)

    def watch(
        self, outcome: Reply | Ignored, now: float, *, accepted: bool
    ) -> tuple[Reply | Ignored, Waiting | None]:
        """Return what to send in place of ``outcome``, and the wait when one holds an NBP back.

        An NBP counts once a node's firmware has ``accepted`` an offer of ours, which its REQUEST
        to whatever server shows; what it repeats unanswered is no loop.
        """
        client = outcome.client
        if client is None or outcome.packet is None:
            return outcome, None
        if client.is_probe:
            return self._shown(outcome, client, now), None
        if outcome.packet.message_type == MessageType.REQUEST:
            if accepted:
                self._accepted(client.mac, now)
            return outcome, None
        if isinstance(outcome, Ignored) or not outcome.node or outcome.kind == "offer script":
            return outcome, None
        waiting = self.offer(client.mac, now)
        if waiting is None:
            return outcome, None
        return Ignored(waiting.refusal, client, outcome.node, outcome.packet), waiting

    def held(self, mac: Mac, now: float) -> str:
        """Return why no NBP is offered to ``mac`` now, which waits already; empty otherwise."""
        waiting = self.loading(mac, now)
        if waiting is None:
            self.holds.discard(mac)
            return ""
        return waiting.refusal

    def loading(self, mac: Mac, now: float) -> Waiting | None:
        """Return the wait that ``mac`` is in for its NBP, without counting anything."""
        nbps = self._nbps.get(mac)
        if nbps is None or now >= nbps.until:
            return None
        return Waiting(self._nbp_reason(), nbps.until - now)

    def offer(self, mac: Mac, now: float) -> Waiting | None:
        """Judge an offer of the NBP to the node's ``mac``; None to make it."""
        nbps = self._nbps.get(mac)
        if nbps is not None:
            limits = self._limits
            seconds, new = nbps.waiting(limits.nbps, limits.window, mac, now)
            if seconds:
                self.holds.add(mac)
                return Waiting(self._nbp_reason(), seconds, new)
        return None

    def _shown(self, outcome: Reply | Ignored, client: PxeClient, now: float) -> Reply | Ignored:
        """Return what a probe is shown: what the machine would get now, without counting it."""
        waiting = self.loading(client.mac, now)
        if waiting is None or isinstance(outcome, Ignored) or outcome.kind == "offer script":
            return outcome
        return Ignored(waiting.refusal, client, outcome.node, outcome.packet)

    def _accepted(self, mac: Mac, now: float) -> None:
        nbps = self._nbps.setdefault(mac, _Count())
        if now >= nbps.until:
            nbps.add(self._limits.nbps, now)

    def release(self, mac: Mac) -> bool:
        """Forget what was counted of ``mac``; return whether it was waiting or counted at all."""
        counted = self._scripts.pop(mac, None), self._nbps.pop(mac, None)
        return any(one is not None for one in counted)

    def waiting(
        self, macs: Iterable[Mac], now: float, *, scripts_only: bool = False
    ) -> Waiting | None:
        """Return the longest wait that a node with ``macs`` is in, without counting anything.

        ``scripts_only`` leaves out those for an NBP.
        """
        found = None
        for mac in macs:
            for table, reason in (
                (self._scripts, self._script_reason()),
                (self._nbps, self._nbp_reason()),
            ):
                if scripts_only and table is self._nbps:
                    continue
                count = table.get(mac)
                left = count.until - now if count else 0.0
                if left > 0 and (found is None or left > found.seconds):
                    found = Waiting(reason, left)
        return found

    def forget_all_but(self, known: Collection[Mac]) -> None:
        """Drop what was counted of MACs that no longer belong to a node."""
        for table in (self._scripts, self._nbps):
            for mac in [mac for mac in table if mac not in known]:
                del table[mac]
        self.holds.intersection_update(known)

    def _script_reason(self) -> str:
        limits = self._limits
        return (
            f"its script was fetched {limits.scripts} times within {_minutes(limits.window)} and no"
            " report came"
        )

    def _nbp_reason(self) -> str:
        limits = self._limits
        return (
            f"it loaded its NBP {limits.nbps} times within {_minutes(limits.window)} and never"
            " asked for a script: what it loads is no iPXE, or does not say that it is one"
        )


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    return "1 minute" if minutes == 1 else f"{minutes:g} minutes"
