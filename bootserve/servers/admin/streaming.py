"""Sending a long answer to a client that may take its time, and may stop taking it."""

from __future__ import annotations

import asyncio

from aiohttp import web

__all__ = ["PATIENCE", "send"]

PATIENCE = 600.0
"""Seconds that a client may take nothing: somebody may be reading it, page by page."""


async def send(
    request: web.Request, response: web.StreamResponse, data: bytes, patience: float = PATIENCE
) -> None:
    """Write ``data`` once the client has taken what came before.

    A client that takes nothing for ``patience`` seconds is cut off: ConnectionResetError, as when
    it goes away.
    """
    try:
        async with asyncio.timeout(patience):
            await response.write(data)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError(f"the client took nothing for {patience:g} s") from None
