"""Tells from a client's retransmissions that our offers do it no good.

A UEFI client that finds no usable pair of offers (an address from the DHCP server, a boot program
from us) says nothing: it repeats its DISCOVER with the same xid, at 0, 4, 12 and 28 s (EDK2) or 0,
1, 3 and 7 s (iPXE), sends no REQUEST, and gives up. From outside that is all there is to see.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from bootserve.model.names import Mac

__all__ = ["EXCHANGE_SECONDS", "NoUsableOffers", "RetransmitTracker"]

_REPEATS: Final = 3
_SPAN: Final = 6.5
"""Seconds from the first DISCOVER. EDK2's third comes at 12; iPXE repeats at 1, 3 and 7 s and then
gives up, while a healthy one, which waits 2 s for a proxy, may repeat at 1 and 3."""
EXCHANGE_SECONDS: Final = 45.0
"""Seconds after which a DISCOVER begins another exchange, whatever its xid: EDK2's longest window
is 32 s, and iPXE under UEFI uses one and the same xid at every boot of a machine."""


@dataclass(frozen=True, slots=True)
class NoUsableOffers:
    """A client that repeats its DISCOVER though we answer; ``at`` is seconds from the first."""

    mac: Mac
    xid: int
    at: tuple[float, ...]

    def __str__(self) -> str:
        times = ", ".join(f"{seconds:.0f}" for seconds in self.at)
        return (
            "the client accepted no usable pair of offers: it repeated its DISCOVER at "
            f"{times} s and sent no REQUEST. Either no DHCP server gives it an address, or it "
            "takes no boot offer in this shape"
        )


@dataclass(slots=True)
class _Waiting:
    """An exchange in which a DISCOVER was repeated and no REQUEST came yet."""

    xid: int
    times: list[float]
    last: float
    told: bool = False


_Once = tuple[int, float]
"""An exchange of one DISCOVER so far, as nearly all are: its xid and when it came."""


class RetransmitTracker:
    """Remembers the last unanswered exchange of up to ``limit`` clients, oldest forgotten first."""

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._waiting: OrderedDict[Mac, _Waiting | _Once] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def offered(self, mac: Mac, xid: int, now: float) -> NoUsableOffers | None:
        """Take note of a DISCOVER that was answered at ``now`` (seconds, monotonic).

        Returns the diagnosis when it is due, once for each exchange.
        """
        table = self._waiting
        known = table.get(mac)
        if isinstance(known, tuple):
            if known[0] != xid or now - known[1] > EXCHANGE_SECONDS:
                table[mac] = (xid, now)
                table.move_to_end(mac)
                return None
            known = table[mac] = _Waiting(xid, [known[1]], known[1])
        return self._repeated(mac, known, xid, now)

    def _repeated(
        self, mac: Mac, waiting: _Waiting | None, xid: int, now: float
    ) -> NoUsableOffers | None:
        if waiting is None or waiting.xid != xid or now - waiting.last > EXCHANGE_SECONDS:
            self._remember(mac, (xid, now))
            return None
        self._waiting.move_to_end(mac)
        waiting.last = now
        if waiting.told:
            return None
        waiting.times[15:] = []  # a flood must not grow it
        waiting.times.append(now)
        first = waiting.times[0]
        waiting.told = len(waiting.times) >= _REPEATS and now - first >= _SPAN
        if not waiting.told:
            return None
        return NoUsableOffers(mac, xid, tuple(at - first for at in waiting.times))

    def requested(self, mac: Mac) -> None:
        """Take note of a REQUEST, to whatever server: the client accepted an offer."""
        self._waiting.pop(mac, None)

    def _remember(self, mac: Mac, waiting: _Once) -> None:
        self._waiting[mac] = waiting
        self._waiting.move_to_end(mac)
        if len(self._waiting) > self._limit:
            self._waiting.popitem(last=False)
