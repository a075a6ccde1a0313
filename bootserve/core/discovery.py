"""Machines that are no node: what they get, and how many of them are recorded."""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum

from bootserve.model.boot import Discovered
from bootserve.model.names import Mac

__all__ = ["DiscoveryFilter", "UnknownPolicy"]

REPEAT_SECONDS = 60.0


class UnknownPolicy(StrEnum):
    """What a machine that is no node gets."""

    IGNORE = "ignore"
    HOLD = "hold"
    REGISTER = "register"


class DiscoveryFilter:
    """Lets a discovered machine through to the journal when it is new, says more, or is due.

    At most ``limit`` machines are remembered and at most ``limit`` new ones pass in a minute, so
    that a flood of made-up MACs fills neither memory nor the journal. ``now`` is monotonic
    seconds.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: OrderedDict[Mac, tuple[float, Discovered]] = OrderedDict()
        self._window = 0.0
        self._new = 0

    def passes(self, machine: Discovered, now: float) -> Discovered | None:
        """Return what to record of ``machine``, with what is already known of it, or None."""
        known = self._seen.get(machine.mac)
        if known is None:
            return self._admit(machine, now)
        merged = _merge(known[1], machine)
        if merged == known[1] and now - known[0] < REPEAT_SECONDS:
            return None
        self._seen[machine.mac] = (now, merged)
        return merged

    def _admit(self, machine: Discovered, now: float) -> Discovered | None:
        if now - self._window >= REPEAT_SECONDS:
            self._window, self._new = now, 0
        if self._new >= self._limit:
            return None
        self._new += 1
        self._seen[machine.mac] = (now, machine)
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return machine


def _merge(old: Discovered, new: Discovered) -> Discovered:
    return Discovered(
        mac=old.mac,
        arch=new.arch or old.arch,
        uuid=new.uuid or old.uuid,
        vendor_class=new.vendor_class or old.vendor_class,
        serial=new.serial or old.serial,
        manufacturer=new.manufacturer or old.manufacturer,
        product=new.product or old.product,
    )
