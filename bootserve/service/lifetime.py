"""What lives as long as the server does, and ends in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

__all__ = ["Lifetime", "Together"]


class Lifetime(contextlib.AsyncExitStack):
    """A stack of what is to be ended, tasks among it; ``stop`` is set when it is time for that.

    A task that dies stops the server, and ``failed`` is then true: whoever supervises it starts it
    anew, with all of its parts. ``log`` is a structlog logger.
    """

    def __init__(self, stop: asyncio.Event, log: Any) -> None:
        super().__init__()
        self._stop = stop
        self._log = log
        self.failed = False

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside everything else, until it is cancelled at its turn."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)

        async def end() -> None:
            task.cancel()
            await asyncio.wait([task])

        self.push_async_callback(end)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._log.error("background task died", task=_name(task), exc_info=error)
        self.failed = True
        self._stop.set()


class Together:
    """What may each take a while to end, all of it ended at the same time."""

    def __init__(self) -> None:
        self._ends: list[Callable[[], Awaitable[None]]] = []

    def add(self, end: Callable[[], Awaitable[None]]) -> None:
        """Have ``end`` called with the others, also when one of them fails."""
        self._ends.append(end)

    async def end(self) -> None:
        """End everything that was added; raises the first error of those that failed."""
        results = await asyncio.gather(*(end() for end in self._ends), return_exceptions=True)
        for error in filter(None, results):
            raise error


def _name(task: asyncio.Task[None]) -> str:
    return getattr(task.get_coro(), "__qualname__", "")
