"""Joins what the planes see of one machine to its boot.

Before the script is served there is no boot: DHCP is known by MAC, TFTP by address. Afterwards a
fetched artifact is known by address and digest. Everything is bounded; ``now`` is seconds since
the epoch, since these times are recorded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from bootserve.model.boot import Boot, Phase, PhaseSeen

__all__ = ["ActiveBoot", "Timeline"]

EARLY_SECONDS = 180.0


@dataclass(slots=True)
class ActiveBoot:
    """A boot that may still report: its token's hash, once bound, and the phases seen.

    ``artifacts`` maps the digests that this boot fetches to their phase; ``root`` is the sha256 of
    the root that its script named.
    """

    boot: Boot
    root: str = ""
    artifacts: dict[str, Phase] = field(default_factory=dict)
    token_hash: str = ""
    phases: set[Phase] = field(default_factory=set)
    reports: int = 0


class Timeline:
    """The boots under way and the early phases of boots still to come.

    At most ``max_boots`` boots and ``max_early`` early sightings are held; the oldest go first.
    """

    def __init__(self, *, max_boots: int = 50_000, max_early: int = 10_000) -> None:
        self._max_boots = max_boots
        self._max_early = max_early
        self._boots: OrderedDict[str, ActiveBoot] = OrderedDict()
        self._by_address: dict[str, str] = {}
        self._early: OrderedDict[tuple[Phase, str], tuple[float, str]] = OrderedDict()

    def early(self, phase: Phase, key: str, now: float, detail: str) -> None:
        """Note a phase that comes before the script; ``key`` is a MAC (DHCP) or address (TFTP).

        Of several the first counts, until it is older than three minutes.
        """
        seen = self._early.get((phase, key))
        if seen is not None and now - seen[0] < EARLY_SECONDS:
            return
        self._early[(phase, key)] = (now, detail)
        self._early.move_to_end((phase, key))
        while len(self._early) > self._max_early:
            self._early.popitem(last=False)

    def begin(self, active: ActiveBoot) -> list[PhaseSeen]:
        """Add a boot just minted; return the phases that led to it, oldest first."""
        boot = active.boot
        phases = []
        for phase, key in ((Phase.DHCP, boot.mac), (Phase.TFTP, boot.address)):
            seen = self._early.pop((phase, key), None)
            if seen is not None and 0 <= boot.minted_at - seen[0] < EARLY_SECONDS:
                phases.append(PhaseSeen(boot.id, phase, seen[0], seen[1]))
                active.phases.add(phase)
        self.restore([active])
        return phases

    def restore(self, boots: Iterable[ActiveBoot]) -> None:
        """Add boots that are known already, the oldest first, as after a restart."""
        for active in boots:
            self._boots[active.boot.id] = active
            self._by_address[active.boot.address] = active.boot.id
        while len(self._boots) > self._max_boots:
            boot_id, old = self._boots.popitem(last=False)
            if self._by_address.get(old.boot.address) == boot_id:
                del self._by_address[old.boot.address]

    def get(self, boot_id: str) -> ActiveBoot | None:
        """Return the boot with this id, if it is held."""
        return self._boots.get(boot_id)

    def fetched(self, address: str, digest: str, now: float) -> PhaseSeen | None:
        """Return the phase that a whole artifact fetched from ``address`` is, the first time."""
        active = self._boots.get(self._by_address.get(address, ""))
        phase = active.artifacts.get(digest) if active is not None else None
        if active is None or phase is None or phase in active.phases:
            return None
        active.phases.add(phase)
        return PhaseSeen(active.boot.id, phase, now)
