"""A server whose answers come in pieces of 1 kB, as a slow or chunking one's do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

__all__ = ["Pieces", "in_pieces"]


@dataclass
class Pieces:
    """Answers each path with the JSON in ``answers``; ``sent`` counts the pieces of ``size``."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    sent: int = 0
    size: int = 1000

    async def answer(self, request: web.Request) -> web.StreamResponse:
        data = json.dumps(self.answers[request.path]).encode()
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(data), self.size):
            await response.write(data[start : start + self.size])
            self.sent += 1
            await asyncio.sleep(0.001)  # each in a segment of its own
        await response.write_eof()
        return response


@asynccontextmanager
async def in_pieces() -> AsyncIterator[Pieces]:
    """Serve on loopback."""
    one = Pieces()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield one
    finally:
        await runner.cleanup()
