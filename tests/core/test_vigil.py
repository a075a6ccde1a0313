"""Since when a server listens, on clocks that are set."""

from __future__ import annotations

import pytest

from bootserve.core.vigil import Vigil


@pytest.mark.parametrize(
    ("step", "since"), [(0.0, 1000.0), (59.0, 1000.0), (3600.0, 4605.0), (-3600.0, -2595.0)]
)
def test_it_begins_again_when_the_wall_clock_is_set(step: float, since: float) -> None:
    vigil = Vigil()
    assert vigil.since(1000.0, 50.0) == 1000.0
    assert vigil.since(1005.0 + step, 55.0) == since
    assert vigil.since(1010.0 + step, 60.0) == since


def test_a_clock_that_is_slewed_is_not_set() -> None:
    vigil = Vigil()
    assert {vigil.since(1000.0 + 11.0 * tick, 10.0 * tick) for tick in range(200)} == {1000.0}
