"""Durations as people write them: ``90s``, ``10m``, ``1h30m``."""

from __future__ import annotations

import re

from bootserve.errors import InvalidInput

__all__ = ["duration_text", "parse_duration"]

UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
_WHOLE = re.compile(r"(\d+(\.\d+)?[dhms])+|\d+(\.\d+)?")
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms]?)")


def parse_duration(text: str) -> float:
    """Return the seconds in ``text``; a bare number is seconds. Raises InvalidInput."""
    folded = text.strip().lower()
    if not _WHOLE.fullmatch(folded) or len(folded) > 40:
        raise InvalidInput(
            f"{text[:40]!r} is not a duration", hint="Write it as 90s, 10m, 1h30m or 2d."
        )
    return sum(float(number) * UNITS[unit] for number, unit in _PART.findall(folded))


def duration_text(seconds: float) -> str:
    """Return ``seconds`` as :func:`parse_duration` reads it, in at most two units: ``1h30m``."""
    if seconds < 60:
        return f"{seconds:g}s" if seconds == int(seconds) else f"{seconds:.1f}s"
    left, parts = int(seconds), []
    for unit in "dhms":
        size = int(UNITS[unit])
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return "".join(parts[:2])
