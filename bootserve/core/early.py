"""What is seen of a boot before its script is served, when it has no id yet.

DHCP is known by MAC (:mod:`bootserve.core.exchanges`), a fetched NBP by address. Everything is
bounded; ``now`` is seconds since the epoch.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from bootserve.core.exchanges import EARLY_SECONDS, Exchanges, Step
from bootserve.model.boot import Phase
from bootserve.model.names import Mac

__all__ = ["EarlyPhases"]

_FETCHES = 4


@dataclass
class EarlyPhases:
    """Sightings not yet joined to a boot: of at most ``limit`` addresses the last few fetches."""

    exchanges: Exchanges
    limit: int
    _fetches: OrderedDict[str, deque[Step]] = field(default_factory=OrderedDict)

    def fetched(self, phase: Phase, address: str, now: float, detail: str) -> None:
        """Note that ``address`` has fetched an NBP."""
        known = self._fetches.get(address)
        if known is None:
            known = self._fetches[address] = deque(maxlen=_FETCHES)
        self._fetches.move_to_end(address)
        known.append(Step(phase, now, detail))
        if len(self._fetches) > self.limit:
            self._fetches.popitem(last=False)

    def take(self, mac: Mac, address: str, now: float) -> list[Step]:
        """Return, the oldest first, and forget what led to a script served at ``now``."""
        steps, fetches = self.exchanges.take(mac, now), self._fetches.pop(address, ())
        begun = steps[0].at if steps else now - EARLY_SECONDS
        steps.extend([step for step in fetches if begun <= step.at <= now][:1])
        return sorted(steps, key=lambda step: step.at)
