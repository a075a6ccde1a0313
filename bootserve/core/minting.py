"""When a fetched script is a retry of the last boot rather than a new one.

A state machine without I/O: ``now`` is monotonic seconds. Memory is bounded by the number of
known MACs, since only known nodes are minted for. How many boots are too many is core/loops'.
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
        self._last: dict[Mac, tuple[float, Boot]] = {}

    def retried(self, mac: Mac, digest: str, address: str, now: float) -> Boot | None:
        """Return the boot that a request of ``mac`` for the generation with ``digest`` repeats.

        A retry within 5 s from the same address gets the same boot, unless the pin has changed
        in between, so that a boot never names two generations. None for a boot to be minted.
        """
        last = self._last.get(mac)
        if last is None or now - last[0] >= RETRY_SECONDS:
            return None
        boot = last[1]
        return boot if (boot.digest, boot.address) == (digest, address) else None

    def minted(self, boot: Boot, now: float) -> None:
        """Record that ``boot`` was minted at ``now``."""
        self._last[boot.mac] = (now, boot)

    def forget_all_but(self, known: Collection[Mac]) -> None:
        """Drop the boots of MACs that no longer belong to a node."""
        for mac in [mac for mac in self._last if mac not in known]:
            del self._last[mac]
