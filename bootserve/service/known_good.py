"""Joins last known good generations to the settings and to what nodes say."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bootserve.core.known_good import KnownGood, KnownGoodLimits
from bootserve.servers.boot.known_good import KnownGoodDesk
from bootserve.servers.rollouts.words import NodeWords
from bootserve.settings import Settings
from bootserve.store.journal import Journal

__all__ = ["make_known_good"]


def make_known_good(
    settings: Settings, words: NodeWords, journal: Journal, log: Any, appended: Callable[[], None]
) -> KnownGoodDesk:
    """Return who chooses last known good generations."""
    limits = KnownGoodLimits(
        tries=settings.known_good_tries,
        per_rack=settings.known_good_per_rack,
        quiet=2 * settings.heartbeat_seconds,
        everywhere=settings.known_good_everywhere,
    )
    return KnownGoodDesk(KnownGood(limits, words.good, time.time()), journal, log, appended)
