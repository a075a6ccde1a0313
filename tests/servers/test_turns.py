"""Bulk lets others have their turn, and not too often."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from bootserve.servers.turns import Turns


def test_it_gives_way_every_half_millisecond_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    turns, now = Turns(), 100.0
    monkeypatch.setattr(os, "sched_yield", lambda: given.append(now))
    for _ in range(100):
        turns.give_way(now)
        now += 0.0001
    assert 17 <= len(given) <= 20
    assert min(b - a for a, b in pairwise(given)) >= 0.000499
