"""Tells from a client's retransmissions that our offers do it no good.

A UEFI client that finds no usable pair of offers (an address from the DHCP server, a boot program
from us) says nothing: it repeats its DISCOVER with the same xid, at 0, 4, 12 and 28 s (EDK2) or 0,
1, 3 and 7 s (iPXE), sends no REQUEST, and gives up. From outside that is all there is to see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bootserve.core.recent import Recent
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
    """Remembers the last unanswered exchange of the last ``limit`` clients, and of some more."""

    def __init__(self, limit: int = 4096) -> None:
        self._waiting: Recent[_Waiting | _Once] = Recent(limit)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, mac: Mac) -> bool:
        return mac in self._waiting

    def offered(self, mac: Mac, xid: int, now: float) -> NoUsableOffers | None:
        """Take note of a DISCOVER that was answered at ``now`` (seconds, monotonic).

        Returns the diagnosis when it is due, once for each exchange.
        """
        known = self._waiting.get(mac)
        if isinstance(known, tuple):
            if known[0] == xid and now - known[1] <= EXCHANGE_SECONDS:
                waiting = _Waiting(xid, [known[1], now], now)
                self._waiting.put(mac, waiting)
                return self._judge(mac, waiting, now)
        elif known is not None and known.xid == xid and now - known.last <= EXCHANGE_SECONDS:
            known.last = now
            if known.told:
                return None
            known.times[15:] = []  # a flood must not grow it
            known.times.append(now)
            return self._judge(mac, known, now)
        self._waiting.put(mac, (xid, now))
        return None

    @staticmethod
    def _judge(mac: Mac, waiting: _Waiting, now: float) -> NoUsableOffers | None:
        first = waiting.times[0]
        waiting.told = len(waiting.times) >= _REPEATS and now - first >= _SPAN
        if not waiting.told:
            return None
        return NoUsableOffers(mac, waiting.xid, tuple(at - first for at in waiting.times))

    def requested(self, mac: Mac) -> None:
        """Take note of a REQUEST, to whatever server: the client accepted an offer."""
        self._waiting.pop(mac)
