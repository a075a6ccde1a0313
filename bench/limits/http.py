"""``python -m bench.limits.http FILE``: asyncio answers whatever comes with the file's bytes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

__all__ = ["main"]


class Fixed(asyncio.Protocol):
    """Takes what was read for one request."""

    answer = b""
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self.transport.write(self.answer)


async def main(path: str) -> None:
    """Serve until the process is ended."""
    body = await asyncio.to_thread(Path(path).read_bytes)
    Fixed.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    server = await asyncio.get_running_loop().create_server(Fixed, "10.44.0.2", 8080)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
