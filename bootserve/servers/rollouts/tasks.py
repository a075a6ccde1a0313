"""The parts of nodes' reboots that are under way: started, cancelled, and what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bootserve.core.rollout_nodes import Outcome, Part, due
from bootserve.model.reboot import Rebooter, RebootOutcome, RebootTask
from bootserve.model.rollout import Rollout

__all__ = ["RebootTasks"]

Key = tuple[int, str, int, Part]


class RebootTasks:
    """Has under way exactly the parts that rollouts call for.

    ``wake`` is called when one has ended; ``log`` is a structlog logger.
    """

    def __init__(self, rebooter: Rebooter, wake: Callable[[], None], log: Any) -> None:
        self._rebooter = rebooter
        self._wake = wake
        self._log = log
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._outcomes: dict[Key, Outcome] = {}

    def outcomes(self, number: int) -> list[Outcome]:
        """Return what came of parts of rollout ``number`` that it still calls for."""
        return [one for key, one in self._outcomes.items() if key[0] == number]

    def match(self, rollout: Rollout) -> None:
        """Start what ``rollout`` calls for and is not under way, cancel what it no longer does."""
        wanted = {
            (rollout.number, task.node, task.attempt, part): (part, task, up)
            for part, task, up in due(rollout)
        }
        for key in [key for key in self._tasks if key[0] == rollout.number and key not in wanted]:
            self._tasks.pop(key).cancel()
        for key in [key for key in self._outcomes if key[0] == rollout.number]:
            if key not in wanted:
                del self._outcomes[key]
        for key, (part, task, up) in wanted.items():
            if key not in self._tasks and key not in self._outcomes:
                self._tasks[key] = asyncio.create_task(self._run(key, part, task, up))

    async def _run(self, key: Key, part: Part, task: RebootTask, up: bool) -> None:
        try:
            result = await self._part(part, task, up)
        except Exception as error:
            self._log.error("rollout", node=task.node, part=part.value, error=repr(error))
            result = RebootOutcome(False, f"it failed here: {error!r}")
        if self._tasks.pop(key, None) is not None:
            self._outcomes[key] = Outcome(
                task.node, task.attempt, part, result.done, result.detail, result.skipped
            )
            self._wake()

    async def _part(self, part: Part, task: RebootTask, up: bool) -> RebootOutcome:
        if part is Part.BEFORE:
            return await self._rebooter.before(task)
        if part is Part.REBOOT:
            return await self._rebooter.reboot(task)
        return await self._rebooter.after(task, up=up)

    async def stop(self) -> None:
        """Cancel everything and wait for its end."""
        tasks = [*self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
