"""What a check found, how bad it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "worst"]


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``found`` says what is so, ``action`` what to do about it.

    ``action`` is empty when there is nothing to do. Both are sentences for an admin.
    """

    level: Level
    subject: str
    found: str
    action: str = ""


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level among ``findings``; that of none is OK."""
    levels = list(Level)
    return levels[max((levels.index(one.level) for one in findings), default=0)]
