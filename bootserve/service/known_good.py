"""Joins last known good generations to the settings and to what nodes say."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bootserve.core.heartbeats import HeartbeatBook
from bootserve.core.known_good import KnownGood, KnownGoodLimits
from bootserve.servers.boot.known_good import KnownGoodDesk
from bootserve.servers.rollouts.words import NodeWords
from bootserve.service.heartbeats import pace_of
from bootserve.settings import Settings
from bootserve.store.journal import Journal

__all__ = ["make_known_good"]


def make_known_good(
    settings: Settings,
    book: HeartbeatBook,
    words: NodeWords,
    journal: Journal,
    log: Any,
    appended: Callable[[], None],
) -> KnownGoodDesk:
    """Return who chooses last known good generations; ``book`` has who speaks how often."""
    limits = KnownGoodLimits(
        tries=settings.known_good_tries,
        per_rack=settings.known_good_per_rack,
        everywhere=settings.known_good_everywhere,
    )
    pace = pace_of(settings)

    def interval(node: str) -> float:
        running = book.of(node)
        told = running.interval if running is not None and running.agent else 0.0
        return max(told, pace.interval(len(book)))

    known_good = KnownGood(limits, words.good, interval, time.time())
    return KnownGoodDesk(known_good, journal, log, appended)
