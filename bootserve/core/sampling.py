"""Keeps a log in bounds when many machines say the same thing over and over."""

from __future__ import annotations

from bootserve.model.names import Mac

__all__ = ["Sampler"]

_SECOND = 1.0


class Sampler:
    """Says which of many events are news and which of those to log; ``now`` is monotonic seconds.

    What a machine did a moment ago is no news within the same second; of the news of one second
    no more than ``limit`` are logged. All are counted: ``events``, and of these
    ``repeated`` and ``unlogged``, since :meth:`take`. Memory is bounded by the machines heard in
    one second.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._until = 0.0
        self._seen: dict[str, set[Mac]] = {}
        self._news = 0
        self.events = 0
        self.repeated = 0
        self.unlogged = 0

    def is_over(self, now: float) -> bool:
        """Whether a second has passed, so that :meth:`turn` is due."""
        return now >= self._until

    def turn(self, now: float) -> None:
        """Begin another second."""
        self._until = now + _SECOND
        self._seen = {}
        self._news = 0

    def take(self) -> tuple[int, int, int]:
        """Return how many there were, were repeated and were not logged, and count anew."""
        counts = self.events, self.repeated, self.unlogged
        self.events = self.repeated = self.unlogged = 0
        return counts

    def is_news(self, mac: Mac, what: str) -> bool:
        """Whether ``mac`` has not done ``what`` in this second; otherwise it is counted."""
        self.events += 1
        seen = self._seen.get(what)
        if seen is None:
            seen = self._seen[what] = set()
        if mac in seen:
            self.repeated += 1
            return False
        seen.add(mac)
        return True

    def is_logged(self) -> bool:
        """Whether one more may be logged in this second; otherwise it is counted."""
        self._news += 1
        if self._news <= self._limit:
            return True
        self.unlogged += 1
        return False
