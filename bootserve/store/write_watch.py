"""Notices when SQL cannot be written, and has that recorded: in the journal, which is another file.

The journal's own failures are counted in its gap file, and become a record in the same way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from bootserve.errors import BootserveError
from bootserve.store.journal import Journal
from bootserve.store.records import FailureRecord

__all__ = ["WriteWatch"]

MOST_WORDS = 300


class WriteWatch:
    """Told of each write to the database, from whatever thread; ``total`` counts failed ones.

    The first that fails and the first that succeeds again are journalled, and so come into the
    audit log once the database takes it. ``clock`` returns seconds since the epoch.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float], log: Any = None) -> None:
        self._journal = journal
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._since = 0.0
        self._count = 0
        self._error = ""
        self.total = 0

    def report_to(self, log: Any) -> None:
        """Log to ``log``, a structlog logger, from now on."""
        self._log = log

    @property
    def problem(self) -> str:
        """What is wrong now, in words; empty while writes succeed."""
        if not self._count:
            return ""
        times = "once" if self._count == 1 else f"{self._count} times"
        return f"changes cannot be recorded: refused, or waiting ({times} so far): {self._error}"

    def failed(self, error: BootserveError) -> None:
        """A write failed with ``error``."""
        with self._lock:
            now = self._clock()
            self.total += 1
            self._count += 1
            self._error = str(error)[:MOST_WORDS]
            if self._count > 1:
                return
            self._since = now
            self._journal.append(FailureRecord(now, "database", self._error, 1, now))
        if self._log:
            self._log.error("audit alarm", error=self._error)

    def succeeded(self) -> None:
        """A write succeeded."""
        if not self._count:
            return
        with self._lock:
            count, self._count = self._count, 0
            record = FailureRecord(self._clock(), "database", "", count, self._since)
            self._journal.append(record)
        if self._log:
            self._log.info("audit alarm over", failed=count)
