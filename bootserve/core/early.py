"""What is seen of a boot before its script is served, when it has no id yet.

DHCP is known by MAC, a fetched NBP by address. A machine that starts over, in the middle of a boot
or while another of its NICs boots, begins another trace, so that no boot is given what belongs to
the one before it. Everything is bounded; ``now`` is seconds since the epoch.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from bootserve.core.ipxe import describe
from bootserve.core.recent import Recent
from bootserve.model.boot import Phase
from bootserve.model.names import Mac
from bootserve.wire.pxe import FirmwareKind, IpxeFeatures, PxeClient

__all__ = ["EarlyPhases", "Step"]

EARLY_SECONDS = 180.0
REPEAT_SECONDS = 45.0
"""A client repeats a DISCOVER with the same xid for so long: EDK2's longest window is 32 s."""
_MOMENT = 1.0
_FETCHES = 4


@dataclass(frozen=True, slots=True)
class Step:
    """A phase that came before the script."""

    phase: Phase
    at: float
    detail: str


@dataclass(slots=True)
class _Trace:
    """The DHCP of one start of a machine: its first message, and iPXE's own."""

    xid: int
    last: float
    at: float
    detail: str
    from_firmware: bool
    ipxe: Step | None = None

    def is_over(self, kind: FirmwareKind, xid: int, now: float) -> bool:
        """Whether a DISCOVER of ``kind`` with ``xid`` begins another start of the machine."""
        if now - self.last >= EARLY_SECONDS:
            return True
        repeated = xid == self.xid and now - self.last < REPEAT_SECONDS
        if kind is not FirmwareKind.IPXE:
            return self.ipxe is not None or not repeated
        return self.ipxe is not None and not self.from_firmware and not repeated


_Once = tuple[int, float, str]
"""A trace of one offer to a firmware so far: its xid, when it was made, and its words."""


@dataclass(slots=True)
class EarlyPhases:
    """Some ``limit`` traces and at most as many addresses; the oldest go first."""

    limit: int = 10_000
    _traces: Recent[_Trace | _Once] = field(init=False)
    _fetches: OrderedDict[str, deque[Step]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._traces = Recent(self.limit)

    def dhcp(
        self,
        client: PxeClient,
        xid: int,
        now: float,
        detail: str,
        *,
        offer: bool,
        mac: Mac = "",
    ) -> bool:
        """Note an answer to ``client``: an ``offer``, or an acknowledgement of one.

        ``mac`` is the node's, when ``client`` describes another machine of its make. Returns
        whether it is news: what is repeated within a second is not.
        """
        mac, ipxe = mac or client.mac, client.kind is FirmwareKind.IPXE
        if offer and not ipxe:
            return self.offered(mac, xid, now, detail)
        trace = self._trace(mac)
        if trace is None or (offer and trace.is_over(client.kind, xid, now)):
            trace = _Trace(xid, now, now, detail, not ipxe)
            self._traces.put(mac, trace)
        news = not offer or xid != trace.xid or now - trace.last >= _MOMENT
        if ipxe and trace.ipxe is None:
            trace.ipxe = Step(Phase.IPXE, now, describe(client.features or IpxeFeatures()))
            news = True
        if offer:
            trace.xid, trace.last = xid, now
        return news

    def offered(self, mac: Mac, xid: int, now: float, detail: str) -> bool:
        """Note an offer to a firmware, as :meth:`dhcp` does; nearly all are the first."""
        known = self._traces.get(mac)
        if known is None:
            self._traces.put(mac, (xid, now, detail))
            return True
        if isinstance(known, tuple):
            first, at, said = known
            if first == xid and now - at < REPEAT_SECONDS:
                self._traces.put(mac, _Trace(xid, now, at, said, from_firmware=True))
                return now - at >= _MOMENT
        elif not known.is_over(FirmwareKind.PXE, xid, now):
            news = now - known.last >= _MOMENT
            known.xid, known.last = xid, now
            return news
        self._traces.put(mac, (xid, now, detail))
        return True

    def _trace(self, mac: Mac) -> _Trace | None:
        known = self._traces.get(mac)
        if isinstance(known, tuple):
            xid, at, detail = known
            known = _Trace(xid, at, at, detail, from_firmware=True)
            self._traces.put(mac, known)
        return known

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
        if mac not in self._traces and address not in self._fetches:
            return []
        trace = self._trace(mac)
        self._traces.pop(mac)
        if trace is not None and not 0 <= now - trace.last < EARLY_SECONDS:
            trace = None
        begun = trace.at if trace else now - EARLY_SECONDS
        steps = [Step(Phase.DHCP, trace.at, trace.detail)] if trace else []
        fetches = self._fetches.pop(address, ())
        steps.extend([step for step in fetches if begun <= step.at <= now][:1])
        if trace is not None and trace.ipxe is not None:
            steps.append(trace.ipxe)
        return sorted(steps, key=lambda step: step.at)
