"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.errors import InvalidInput
from bootserve.model.duration import duration_text, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("0", 0), ("1.5h", 5400)],
)
def test_what_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 m", "-5s", "10x", "1h30", "nan", "9" * 50])
def test_what_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_duration(text)


@given(st.integers(0, 400 * 86400))
def test_what_is_written_can_be_read_and_is_short_by_less_than_its_last_unit(seconds: int) -> None:
    assert 0 <= seconds - parse_duration(duration_text(seconds)) < 3600
