"""When a fetched script is a new boot, a retry of the last one, or one too many.

A state machine without I/O: ``now`` is monotonic seconds. Memory is bounded by the number of
known MACs, since only known nodes are minted for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from bootserve.model.boot import Boot
from bootserve.model.names import Mac

__all__ = ["Minter", "Verdict"]

RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reuse`` is the boot to answer with again; ``limited`` is how long to refuse, in seconds."""

    reuse: Boot | None = None
    limited: float = 0.0

    @property
    def mint(self) -> bool:
        """Whether the request is a new boot."""
        return self.reuse is None and not self.limited


_MINT = Verdict()


@dataclass(slots=True)
class _History:
    last: Boot | None = None
    minted: deque[float] = field(default_factory=deque)


class Minter:
    """Decides for each script request whether to mint a boot.

    ``limit`` boots per MAC in ``window`` seconds; the next is refused until the oldest is older.
    """

    def __init__(self, *, limit: int = 20, window: float = 300.0) -> None:
        self._limit = limit
        self._window = window
        self._by_mac: dict[Mac, _History] = {}

    def judge(self, mac: Mac, digest: str, address: str, now: float) -> Verdict:
        """Return what to do with a request of ``mac`` for the generation with ``digest``.

        A retry within 5 s from the same address gets the same boot, unless the pin has changed
        in between, so that a boot never names two generations.
        """
        history = self._by_mac.get(mac)
        if history is None:
            return _MINT
        last = history.last
        if (
            last is not None
            and now - history.minted[-1] < RETRY_SECONDS
            and (last.digest, last.address) == (digest, address)
        ):
            return Verdict(reuse=last)
        while history.minted and now - history.minted[0] >= self._window:
            history.minted.popleft()
        if len(history.minted) >= self._limit:
            return Verdict(limited=history.minted[0] + self._window - now)
        return _MINT

    def minted(self, boot: Boot, now: float) -> None:
        """Record that ``boot`` was minted at ``now``."""
        history = self._by_mac.setdefault(boot.mac, _History())
        history.last = boot
        history.minted.append(now)

    def forget_all_but(self, known: Collection[Mac]) -> None:
        """Drop the history of MACs that no longer belong to a node."""
        for mac in [mac for mac in self._by_mac if mac not in known]:
            del self._by_mac[mac]
