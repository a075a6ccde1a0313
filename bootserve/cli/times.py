"""Times on the command line."""

from __future__ import annotations

import re
import time
from datetime import datetime

import typer

__all__ = ["TIME_HELP", "epoch", "until"]

TIME_HELP = "2026-03-01T02:00Z, 2026-03-01 (local time without a zone), or 90s, 30m, 2h, 7d ago."
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def epoch(text: str, option: str, now: float | None = None) -> float:
    """Return the time written as ``text`` in seconds since the epoch; a usage error otherwise.

    ``now`` is what an age such as ``2h`` is counted from.
    """
    return _moment(text.strip().removesuffix(" ago"), option, TIME_HELP, -1, now)


def until(text: str, option: str, now: float | None = None) -> float:
    """Return the time to come that is written as ``text``, ``90d`` from ``now`` or a date.

    It is in seconds since the epoch; a usage error for anything else.
    """
    return _moment(text.strip(), option, "90d, 12h, or 2027-01-31", 1, now)


def _moment(text: str, option: str, forms: str, sign: int, now: float | None) -> float:
    away = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if away:
        return (time.time() if now is None else now) + sign * int(away[1]) * _UNITS[away[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(
            f"{text!r} is not a time: write {forms}", param_hint=option
        ) from None
