"""When a fetched script is a retry of the last boot rather than a new one.

A state machine without I/O: ``at`` is seconds since the epoch, as a boot has it; a clock that is
set in between may make a retry a new boot, or a new boot a retry. Memory is bounded by the number
of known MACs, since only known nodes are minted for. How many boots are too many is core/loops'.
"""

from __future__ import annotations

from collections.abc import Collection

from bootserve.model.boot import Boot
from bootserve.model.names import Mac

__all__ = ["RETRY_SECONDS", "Minter"]

RETRY_SECONDS = 5.0


class Minter:
    """Remembers the last boot of each MAC."""

    def __init__(self) -> None:
        self._last: dict[Mac, Boot] = {}

    def retried(self, mac: Mac, digest: str, address: str, at: float) -> Boot | None:
        """Return the boot that a request of ``mac`` for the generation with ``digest`` repeats.

        A retry within 5 s from the same address gets the same boot, unless the pin has changed
        in between, so that a boot never names two generations. None for a boot to be minted.
        """
        boot = self._last.get(mac)
        if boot is None or not 0 <= at - boot.minted_at < RETRY_SECONDS:
            return None
        return boot if (boot.digest, boot.address) == (digest, address) else None

    def minted(self, boot: Boot) -> None:
        """Record that ``boot`` was minted."""
        self._last[boot.mac] = boot

    def forget_all_but(self, known: Collection[Mac]) -> None:
        """Drop the boots of MACs that no longer belong to a node."""
        for mac in [mac for mac in self._last if mac not in known]:
            del self._last[mac]
