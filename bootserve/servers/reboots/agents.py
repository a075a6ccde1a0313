"""Reboots by the node's own agent, which is asked to in the answer to its heartbeat."""

from __future__ import annotations

import asyncio
import time

from bootserve.core.heartbeats import HeartbeatBook, Wishes

__all__ = ["AgentRequests"]

POLL_SECONDS = 0.5


class AgentRequests:
    """The nodes that are to be asked to reboot themselves, and whether they were.

    ``wishes`` is what the answers to heartbeats are made from, ``book`` what nodes said.
    """

    def __init__(self, wishes: Wishes, book: HeartbeatBook) -> None:
        self._wishes = wishes
        self._book = book
        self._asked: dict[str, str] = {}

    async def ask(self, node: str, reboot: str, seconds: float) -> bool:
        """Have ``node`` asked at its next heartbeat; return whether one came within ``seconds``.

        It goes on being asked with every heartbeat of this boot, as an answer may be lost, until
        :meth:`withdraw`. Not asked twice is a node that comes from another boot meanwhile.
        """
        deadline = time.monotonic() + seconds
        boot, since = "", 0.0
        try:
            while time.monotonic() < deadline:
                running = self._book.of(node)
                if running is not None and boot and running.boot != boot:
                    return True
                if running is not None and not boot:
                    boot, since = running.boot, time.time()
                    self._wishes.ask(node, boot, reboot)
                    self._asked[node] = reboot
                elif running is not None and running.last_seen > since:
                    return True
                await asyncio.sleep(POLL_SECONDS)
        except asyncio.CancelledError:
            self.withdraw(node, reboot)
            raise
        self.withdraw(node, reboot)
        return False

    def withdraw(self, node: str, reboot: str) -> None:
        """Do not ask ``node`` any more, if it is asked for this reboot."""
        if self._asked.get(node) == reboot:
            del self._asked[node]
            self._wishes.withdraw(node)
