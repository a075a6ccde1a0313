"""Times on the command line."""

from __future__ import annotations

import re
import time
from datetime import datetime

import typer

__all__ = ["TIME_HELP", "epoch"]

TIME_HELP = "2026-03-01T02:00Z, 2026-03-01 (local time without a zone), or 90s, 30m, 2h, 7d ago."
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def epoch(text: str, option: str, now: float | None = None) -> float:
    """Return the time written as ``text`` in seconds since the epoch; a usage error otherwise.

    ``now`` is what an age such as ``2h`` is counted from.
    """
    ago = re.fullmatch(r"([0-9]{1,9})([smhd])( ago)?", text.strip())
    if ago:
        return (time.time() if now is None else now) - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(
            f"{text!r} is not a time: write {TIME_HELP}", param_hint=option
        ) from None
