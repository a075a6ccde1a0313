"""Keeps a log in bounds when many machines say the same thing over and over."""

from __future__ import annotations

__all__ = ["Sampler"]


class Sampler:
    """Says which of many events to log: no more than ``limit`` of those that are news in a period.

    All are counted: ``events``, and of these ``repeated``, which are no news, and ``unlogged``,
    since :meth:`take`, which ends the period.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._news = 0
        self.events = 0
        self.repeated = 0
        self.unlogged = 0

    def take(self) -> tuple[int, int, int]:
        """Return how many there were, were repeated and were not logged, and count anew."""
        counts = self.events, self.repeated, self.unlogged
        self._news = self.events = self.repeated = self.unlogged = 0
        return counts

    def is_logged(self, *, news: bool) -> bool:
        """Count an event; return whether to log it."""
        self.events += 1
        if not news:
            self.repeated += 1
            return False
        self._news += 1
        if self._news <= self._limit:
            return True
        self.unlogged += 1
        return False
