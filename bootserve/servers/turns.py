"""Bulk that gives way: a process that sends as fast as it can lets others have their turn."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["Turns"]

_TURN: Final = 0.0005


class Turns:
    """Offers the processor to whoever waits for it, when half a millisecond is over.

    The kernel looks who comes next when its timer ticks, every 4 ms on many a machine; a thread
    that was passed over when it woke would wait for that. Where nobody waits, this costs less than
    a microsecond.
    """

    def __init__(self) -> None:
        self._until = 0.0

    def give_way(self, now: float) -> None:
        """Do so if it is time; ``now`` is monotonic seconds."""
        if now >= self._until:
            os.sched_yield()
            self._until = now + _TURN
