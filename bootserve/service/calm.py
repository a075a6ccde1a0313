"""A log that does not grow with a flood: some lines a minute of each kind, and a count of the rest.

For what a stranger on the network can cause as often as it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Calm"]

LINES = 20
WINDOW_SECONDS = 60.0

_Key = tuple[str, str, str]
"""Level, event and kind."""


@dataclass(slots=True)
class _Window:
    """The lines of one kind since ``since`` (monotonic seconds): written, and left out."""

    since: float
    written: int = 0
    left_out: int = 0


class Calm:
    """Stands before ``log``, a structlog logger, and writes ``lines`` of each event and level.

    When a minute is over, one line says how many were left out of it. ``counts`` are all events
    since the start, written or not. ``kind`` keeps events of one name apart: those of one kind do
    not use up the lines of another.
    """

    def __init__(
        self, log: Any, *, lines: int = LINES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._lines = lines
        self._clock = clock
        self._windows: dict[_Key, _Window] = {}
        self.counts: Counter[str] = Counter()

    def info(self, event: str, *, kind: str = "", **fields: Any) -> None:
        """Log ``event``, or count it."""
        self._say(("info", event, kind), fields)

    def warning(self, event: str, *, kind: str = "", **fields: Any) -> None:
        """Log ``event``, or count it."""
        self._say(("warning", event, kind), fields)

    def error(self, event: str, *, kind: str = "", **fields: Any) -> None:
        """Log ``event``, or count it."""
        self._say(("error", event, kind), fields)

    def _say(self, key: _Key, fields: dict[str, Any]) -> None:
        level, event, _ = key
        self.counts[event] += 1
        now = self._clock()
        window = self._windows.get(key)
        if window is None or now - window.since >= WINDOW_SECONDS:
            self._tell(key)
            window = self._windows[key] = _Window(now)
        if window.written < self._lines:
            window.written += 1
            getattr(self._log, level)(event, **fields)
            return
        window.left_out += 1
        if window.left_out == 1:
            with contextlib.suppress(RuntimeError):  # without a loop, the next window tells it
                loop = asyncio.get_running_loop()
                loop.call_later(window.since + WINDOW_SECONDS - now, self._tell, key)

    def _tell(self, key: _Key) -> None:
        window = self._windows.pop(key, None)
        if window is not None and window.left_out:
            level, event, kind = key
            of_kind = {"kind": kind} if kind else {}
            detail = f"and {window.left_out} more like these"
            getattr(self._log, level)(event, detail=detail, **of_kind)

    def flush(self) -> None:
        """Say what was left out until now."""
        for key in [*self._windows]:
            self._tell(key)
