"""The DHCP exchanges of clients, by MAC: when each began, and whether our offers do it any good.

A UEFI client that finds no usable pair of offers (an address from the DHCP server, a boot program
from us) says nothing: it repeats its DISCOVER with the same xid, at 0, 4, 12 and 28 s (EDK2) or 0,
1, 3 and 7 s (iPXE), sends no REQUEST, and gives up. From outside that is all there is to see.

The same table has the DHCP of a start of the machine, for the boot that it comes to: the firmware's
first message, and iPXE's own. A machine that starts over, in the middle of a boot or while another
of its NICs boots, begins another trace, so that no boot is given what belongs to the one before.

``now`` is monotonic seconds, ``at`` seconds since the epoch.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from bootserve.core.ipxe import describe
from bootserve.core.recent import Recent
from bootserve.model.boot import Phase
from bootserve.model.names import Mac
from bootserve.wire.pxe import FirmwareKind, IpxeFeatures, PxeClient

__all__ = ["EARLY_SECONDS", "EXCHANGE_SECONDS", "Exchanges", "NoUsableOffers", "Step"]

EARLY_SECONDS: Final = 180.0
"""How long after its last DHCP message a machine may take to ask for its script."""
EXCHANGE_SECONDS: Final = 45.0
"""Seconds after which a DISCOVER begins another exchange, whatever its xid: EDK2's longest window
is 32 s, and iPXE under UEFI uses one and the same xid at every boot of a machine."""
_REPEATS: Final = 3
_SPAN: Final = 6.5
"""Seconds from the first DISCOVER. EDK2's third comes at 12; iPXE repeats at 1, 3 and 7 s and then
gives up, while a healthy one, which waits 2 s for a proxy, may repeat at 1 and 3."""
_MOMENT: Final = 1.0
_MOST_TIMES: Final = 16


@dataclass(frozen=True, slots=True)
class Step:
    """A phase that came before the script."""

    phase: Phase
    at: float
    detail: str


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
class _Exchange:
    """``times`` are those of the DISCOVERs since the client last sent a REQUEST or began anew."""

    xid: int
    last: float
    times: list[float]
    at: float
    last_at: float
    detail: str
    from_firmware: bool
    told: bool = False
    ipxe: Step | None = None

    def is_repeated(self, xid: int, now: float) -> bool:
        """Whether a DISCOVER with ``xid`` is of the same exchange as the last."""
        return xid == self.xid and now - self.last <= EXCHANGE_SECONDS

    def is_over(self, xid: int, now: float, *, ipxe: bool) -> bool:
        """Whether a DISCOVER, of an iPXE or of a firmware, begins another start of the machine."""
        if now - self.last >= EARLY_SECONDS:
            return True
        if not ipxe:
            return self.ipxe is not None or not self.is_repeated(xid, now)
        return self.ipxe is not None and not self.from_firmware and not self.is_repeated(xid, now)

    def count(self, xid: int, now: float) -> None:
        """Count a DISCOVER; a flood must not grow what is kept of it."""
        if not self.times or not self.is_repeated(xid, now):
            self.times, self.told = [now], False
        elif not self.told:
            self.times[_MOST_TIMES - 1 :] = [now]
            self.told = self.is_due()
        self.xid, self.last = xid, now

    def is_due(self) -> bool:
        """Whether the times show that no offer does the client any good."""
        return len(self.times) >= _REPEATS and self.times[-1] - self.times[0] >= _SPAN


_FIRST: Final = struct.Struct("=IddH")
"""An exchange of one offer to a firmware so far, as nearly all are: its xid, when it was made by
either clock, and which words say what it was. In a storm these are most of the table, and packed
they take half the room, and half the time, of objects."""


class _Words:
    """Texts by number: there are some hundred of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []

    def __getitem__(self, number: int) -> str:
        return self._texts[number]

    def number(self, text: str) -> int:
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = len(self._texts)
            self._texts.append(text)
        return found


class Exchanges:
    """Remembers the last exchange of the last ``limit`` nodes' NICs, and of some more.

    Of machines that are no node it remembers the last ``strangers`` apart, so that a flood of them
    cannot make it forget a node.
    """

    def __init__(self, limit: int = 10_000, strangers: int = 4096) -> None:
        self._nodes: Recent[bytes | _Exchange] = Recent(limit)
        self._strangers: Recent[bytes | _Exchange] = Recent(strangers)
        self._words = _Words()

    def __len__(self) -> int:
        return len(self._nodes) + len(self._strangers)

    def repeats(self, mac: Mac, xid: int, now: float, *, known: bool) -> NoUsableOffers | None:
        """Return the diagnosis of a DISCOVER when it completes the pattern, once for each exchange.

        ``known`` is whether ``mac`` is a node's. Nothing is noted: :meth:`offered` does that, once
        it is known what the answer is.
        """
        found = (self._nodes if known else self._strangers).get(mac)
        if found is None or isinstance(found, bytes):
            return None
        if found.told or not found.is_repeated(xid, now) or len(found.times) + 1 < _REPEATS:
            return None
        times = [*found.times[: _MOST_TIMES - 1], now]
        if now - times[0] < _SPAN:
            return None
        return NoUsableOffers(mac, xid, tuple(at - times[0] for at in times))

    def offered(
        self, mac: Mac, xid: int, now: float, at: float, detail: str, *, known: bool
    ) -> bool:
        """Note an offer to a firmware, which ``detail`` says in words.

        Returns whether it is news: what is repeated within a second is not.
        """
        table = self._nodes if known else self._strangers
        found = table.get(mac)
        if isinstance(found, bytes):
            first, then, _, _ = _FIRST.unpack(found)
            is_over = first != xid or now - then > EXCHANGE_SECONDS
        else:
            is_over = found is None or found.is_over(xid, now, ipxe=False)
        if found is not None and not is_over:
            exchange = self._whole(found)
            news = now - exchange.last >= _MOMENT
            exchange.count(xid, now)
            exchange.last_at = at
            table.put(mac, exchange)
            return news
        table.put(mac, _FIRST.pack(xid, now, at, self._words.number(detail)))
        return True

    def ipxe_offered(
        self,
        mac: Mac,
        xid: int,
        now: float,
        at: float,
        detail: str,
        features: IpxeFeatures | None,
        *,
        known: bool,
    ) -> bool:
        """Note an offer to an iPXE, which told its ``features``; returns what :meth:`offered` does.

        It continues what the firmware began that loaded it.
        """
        table = self._nodes if known else self._strangers
        found = table.get(mac)
        exchange = None if found is None else self._whole(found)
        if exchange is None or exchange.is_over(xid, now, ipxe=True):
            exchange = _Exchange(xid, now, [], at, at, detail, from_firmware=False)
        news = xid != exchange.xid or now - exchange.last >= _MOMENT
        if exchange.ipxe is None:
            exchange.ipxe = Step(Phase.IPXE, at, describe(features or IpxeFeatures()))
            news = True
        exchange.count(xid, now)
        exchange.last_at = at
        table.put(mac, exchange)
        return news

    def acknowledged(
        self, client: PxeClient, xid: int, now: float, at: float, detail: str, *, known: bool
    ) -> None:
        """Note that ``client`` asked for its boot file and was told; of a node it never saw an
        offer to, as after a restart, that is how its boot began."""
        table = self._nodes if known else self._strangers
        found, ipxe = table.get(client.mac), client.kind is FirmwareKind.IPXE
        if found is not None and not ipxe:
            return
        exchange = self._whole(found or _Exchange(xid, now, [], at, at, detail, not ipxe))
        if ipxe and exchange.ipxe is None:
            exchange.ipxe = Step(Phase.IPXE, at, describe(client.features or IpxeFeatures()))
        table.put(client.mac, exchange)

    def requested(self, mac: Mac) -> None:
        """Take note of a REQUEST, to whatever server: the client accepted an offer."""
        for table in (self._nodes, self._strangers):
            found = table.get(mac)
            if found is not None:
                exchange = self._whole(found)
                exchange.times, exchange.told = [], False
                table.put(mac, exchange)

    def has_offer(self, mac: Mac) -> bool:
        """Whether a DISCOVER of a node's ``mac`` was answered and no REQUEST has come since."""
        found = self._nodes.get(mac)
        return found is not None and (isinstance(found, bytes) or bool(found.times))

    def take(self, mac: Mac, at: float) -> list[Step]:
        """Return what led to a node's script served at ``at``, the oldest first.

        It belongs to no other boot.
        """
        found = self._nodes.pop(mac) if mac in self._nodes else None
        if found is None:
            return []
        exchange = self._whole(found)
        if not 0 <= at - exchange.last_at < EARLY_SECONDS:
            return []
        begun = Step(Phase.DHCP, exchange.at, exchange.detail)
        return [begun, exchange.ipxe] if exchange.ipxe else [begun]

    def _whole(self, found: bytes | _Exchange) -> _Exchange:
        if isinstance(found, _Exchange):
            return found
        xid, now, at, word = _FIRST.unpack(found)
        return _Exchange(xid, now, [now], at, at, self._words[word], from_firmware=True)
