"""The one thread that speaks SQL, so that no query ever stalls a node's reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

__all__ = ["DatabaseThread"]

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThread:
    """Runs calls one after another in one thread; ``clock`` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sql")
        self._clock = clock
        self._began: float | None = None

    @property
    def age(self) -> float:
        """For how many seconds it has been at its call; 0 while it is at none."""
        began = self._began
        return 0.0 if began is None else self._clock() - began

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``call`` returns, or raise what it raises; it has the caller's context."""
        context = copy_context()

        def work() -> T:
            self._began = self._clock()
            try:
                return context.run(call, *args, **kwargs)
            finally:
                self._began = None

        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Wait for the calls under way and end the thread."""
        self._executor.shutdown(wait=True)
