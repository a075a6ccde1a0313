"""What aiohttp has to say, as lines of our log: its own are 20 lines for a malformed request."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError

from bootserve.service.calm import Calm

__all__ = ["make_web_logger"]


class _Bridge(logging.Handler):
    def __init__(self, calm: Calm) -> None:
        super().__init__()
        self._calm = calm

    def emit(self, record: logging.LogRecord) -> None:
        """Log a client's fault as one line, and ours with its traceback."""
        error = record.exc_info[1] if record.exc_info else None
        detail = record.getMessage()[:200]
        if isinstance(error, HttpProcessingError):
            self._calm.info("malformed", detail=detail, error=error.message[:200])
        elif isinstance(error, ConnectionError):
            self._calm.info("went away", detail=detail, error=str(error))
        else:
            self._calm.error("http", detail=detail, exc_info=record.exc_info)


def make_web_logger(calm: Calm) -> logging.Logger:
    """Return a logger for aiohttp, which is no part of logging's tree."""
    logger = logging.Logger("bootserve.http", logging.WARNING)
    logger.addHandler(_Bridge(calm))
    return logger
