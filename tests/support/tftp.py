"""The socket of a TFTP client."""

from __future__ import annotations

import asyncio
import socket

__all__ = ["ClientSocket"]

_GREATEST = 70_000
_REQUESTS = b"\0\1", b"\0\2"


class ClientSocket(socket.socket):
    """Asks ``server``, an address and a port, and answers the port that its packets come from.

    That is RFC 1350 section 4. It does not block; ``source`` is its own address.
    """

    def __init__(self, server: tuple[str, int], source: str = "") -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.bind((source, 0))
        self.server = self.peer = server

    def put(self, data: bytes) -> None:
        """Send a packet."""
        self.sendto(data, self.server if data[:2] in _REQUESTS else self.peer)

    def take(self) -> bytes:
        """Return the next packet that has come; raises BlockingIOError when none has."""
        data, self.peer = self.recvfrom(_GREATEST)
        return data

    async def get(self) -> bytes:
        """Return the next packet, and wait for it."""
        data, self.peer = await asyncio.get_running_loop().sock_recvfrom(self, _GREATEST)
        return data
