"""Joins what the planes see of one machine to its boot.

Before the script is served there is no boot: DHCP is known by MAC, TFTP by address. Afterwards a
fetched artifact is known by address and digest. Everything is bounded; ``now`` is seconds since
the epoch, since these times are recorded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bootserve.core.early import EarlyPhases
from bootserve.core.exchanges import Exchanges
from bootserve.core.ipxe import UNKNOWN_IPXE, Ipxe, ipxe_of
from bootserve.model.boot import Boot, Phase, PhaseSeen
from bootserve.model.names import Mac
from bootserve.wire.pxe import IpxeFeatures

__all__ = ["ActiveBoot", "Timeline"]

_BOOTS_AT_ADDRESS = 8
"""How many boots of one address a fetched artifact is looked for in."""


@dataclass(slots=True)
class ActiveBoot:
    """A boot that may still report: its token's hash, once bound, and the phases seen.

    ``artifacts`` maps the digests that this boot fetches to their phase; ``root`` is the sha256 of
    the root that its script named; ``previous`` is the id of the boot before it at its address.
    """

    boot: Boot
    root: str = ""
    artifacts: Mapping[str, Phase] = field(default_factory=dict)
    token_hash: str = ""
    phases: frozenset[Phase] = frozenset()
    reports: int = 0
    previous: str = ""


class Timeline:
    """The boots under way and the early phases of boots still to come.

    At most ``max_boots`` boots and some ``max_early`` early sightings are held; the oldest go
    first. ``exchanges`` has the DHCP that comes before.
    """

    def __init__(
        self, exchanges: Exchanges, *, max_boots: int = 50_000, max_early: int = 10_000
    ) -> None:
        self._max_boots = max_boots
        self._boots: OrderedDict[str, ActiveBoot] = OrderedDict()
        self._by_address: dict[str, str] = {}
        self._early = EarlyPhases(exchanges, max_early)
        self._ipxes: OrderedDict[Mac, Ipxe] = OrderedDict()

    def told(self, mac: Mac, features: IpxeFeatures | None) -> None:
        """Note what the iPXE that runs on ``mac`` said that it can do."""
        self._ipxes[mac] = ipxe_of(features)
        self._ipxes.move_to_end(mac)
        if len(self._ipxes) > self._max_boots:
            self._ipxes.popitem(last=False)

    def loaded(self, phase: Phase, address: str, now: float, detail: str) -> None:
        """Note that ``address`` has fetched an NBP, by TFTP or HTTP."""
        self._early.fetched(phase, address, now, detail)

    def ipxe(self, mac: Mac) -> Ipxe:
        """Return what the iPXE that last ran on ``mac`` said that it can do."""
        return self._ipxes.get(mac, UNKNOWN_IPXE)

    def begin(self, active: ActiveBoot) -> list[PhaseSeen]:
        """Add a boot just minted; return the phases that led to it, oldest first."""
        boot = active.boot
        steps = self._early.take(boot.mac, boot.address, boot.minted_at)
        if steps:
            active.phases |= {step.phase for step in steps}
        self.restore([active])
        return [PhaseSeen(boot.id, step.phase, step.at, step.detail) for step in steps]

    def restore(self, boots: Iterable[ActiveBoot]) -> None:
        """Add boots that are known already, the oldest first, as after a restart."""
        for active in boots:
            held = self._boots.get(active.boot.id)
            self._boots[active.boot.id] = active
            if held is None:
                self._at_address(active)
            else:
                active.previous = held.previous
        while len(self._boots) > self._max_boots:
            boot_id, old = self._boots.popitem(last=False)
            if self._by_address.get(old.boot.address) == boot_id:
                del self._by_address[old.boot.address]

    def _at_address(self, active: ActiveBoot) -> None:
        """Put a boot in its place among those of its address, the newest first."""
        boot, newer = active.boot, None
        place = self._boots.get(self._by_address.get(boot.address, ""))
        for _ in range(_BOOTS_AT_ADDRESS):
            if place is None or place.boot.minted_at <= boot.minted_at:
                break
            newer, place = place, self._boots.get(place.previous)
        active.previous = place.boot.id if place else ""
        if newer is None:
            self._by_address[boot.address] = boot.id
        else:
            newer.previous = boot.id

    def get(self, boot_id: str) -> ActiveBoot | None:
        """Return the boot with this id, if it is held."""
        return self._boots.get(boot_id)

    def fetched(self, address: str, digest: str, began: float, now: float) -> PhaseSeen | None:
        """Return the phase that a whole artifact fetched from ``address`` is, the first time.

        It belongs to the newest boot at the address that fetches it and whose script had been
        served when the fetch ``began``: of a machine that starts over, what the old boot was still
        fetching is not the new one's.
        """
        active = self._boots.get(self._by_address.get(address, ""))
        for _ in range(_BOOTS_AT_ADDRESS):
            if active is None:
                return None
            phase = active.artifacts.get(digest)
            if phase is not None and active.boot.minted_at <= began:
                if phase in active.phases:
                    return None
                active.phases |= {phase}
                return PhaseSeen(active.boot.id, phase, now)
            active = self._boots.get(active.previous)
        return None
