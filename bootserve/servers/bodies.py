"""Reads the body of another server's answer."""

from __future__ import annotations

import aiohttp

__all__ = ["read_at_most"]


async def read_at_most(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the first ``most`` bytes of the body of ``response``, or all when there are fewer.

    However many pieces it comes in: ``content.read(most)`` would return the first of them. JSON
    that is longer ends in the middle, so no parser takes it for a document.
    """
    data = bytearray()
    async for piece in response.content.iter_chunked(most):
        data += piece
        if len(data) >= most:
            break
    return bytes(data[:most])
