"""Each request has an id, which its answer and the audit records of what it changed carry."""

from __future__ import annotations

import re
import secrets

from aiohttp import web
from aiohttp.typedefs import Handler

from bootserve.store.audit import REQUEST_ID

__all__ = ["HEADER", "request_ids"]

HEADER = "X-Request-Id"
_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@web.middleware
async def request_ids(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give ``request`` the id that its caller chose in X-Request-Id, or one of its own."""
    given = request.headers.get(HEADER, "")
    chosen = given if _PLAIN.fullmatch(given) else secrets.token_hex(8)
    before = REQUEST_ID.set(chosen)
    try:
        response = await handler(request)
    finally:
        REQUEST_ID.reset(before)
    if not response.prepared:
        response.headers[HEADER] = chosen
    return response
