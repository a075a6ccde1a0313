"""What libraries say, as lines of our log: their own are 20 lines for a malformed request."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from aiohttp.http_exceptions import HttpProcessingError

from bootserve.service.calm import Calm

__all__ = ["library_logs", "make_web_logger"]


class _Bridge(logging.Handler):
    """Logs to ``calm``; what is a fault of ours as ``event``."""

    def __init__(self, calm: Calm, event: str) -> None:
        super().__init__(logging.WARNING)
        self._calm = calm
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        """Log a client's fault as one line, and ours with its traceback."""
        error = record.exc_info[1] if record.exc_info else None
        detail = record.getMessage()[:200]
        if isinstance(error, HttpProcessingError):
            self._calm.info("malformed", detail=detail, error=error.message[:200])
        elif isinstance(error, ConnectionError):
            self._calm.info("went away", detail=detail, error=str(error))
        else:
            self._calm.error(self._event, detail=detail, exc_info=record.exc_info)


def make_web_logger(calm: Calm) -> logging.Logger:
    """Return a logger for aiohttp, which is no part of logging's tree."""
    logger = logging.Logger("bootserve.http", logging.WARNING)
    logger.addHandler(_Bridge(calm, "http"))
    return logger


@contextlib.contextmanager
def library_logs(calm: Calm) -> Iterator[None]:
    """Log to ``calm`` what libraries would print on stderr, for the time of the block.

    That is also what each event loop's own exception handler says, in whatever thread it runs.
    """
    root, bridge = logging.getLogger(), _Bridge(calm, "internal")
    root.addHandler(bridge)
    try:
        yield
    finally:
        root.removeHandler(bridge)
