"""Times on the command line: a date, or so long ago or from now."""

from __future__ import annotations

import pytest
import typer

from bootserve.cli.times import epoch, until

DATE = "2031-01-31T00:00+00:00"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), (" 2h ", 7200), ("7d", 604_800), ("1w", 604_800)],
)
def test_how_long_ago_or_from_now(text: str, seconds: int) -> None:
    assert epoch(text, "--since", 1e9) == 1e9 - seconds
    assert epoch(f"{text.strip()} ago", "--since", 1e9) == 1e9 - seconds
    assert until(text, "--expires", 1e9) == 1e9 + seconds


def test_a_date() -> None:
    assert epoch(DATE, "--since") == until(DATE, "--expires") == 1927584000.0


@pytest.mark.parametrize("text", ["soon", "", "-1h", "1y", "9" * 12 + "s", "9999-13-01"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a time: write 2026"):
        epoch(text, "--since")
    with pytest.raises(typer.BadParameter, match="is not a time: write 90d"):
        until(text, "--expires")
