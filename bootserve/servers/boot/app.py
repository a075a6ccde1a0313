"""The boot plane's application: routes joined, errors turned into short plain answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from bootserve.errors import BootserveError

__all__ = ["make_app"]

BODY_SECONDS = 60.0
"""A client that does not send a request's body within this is given up."""


def make_app(
    routes: Iterable[web.AbstractRouteDef],
    log: Any,
    asked: Callable[[asyncio.BaseTransport | None], None] = lambda _transport: None,
) -> web.Application:
    """Return the application that serves ``routes``; ``log`` is a structlog logger.

    ``asked`` is told the connection of each request.

    An error is one line of text with its status: iPXE shows the status, a person with curl the
    line.
    """

    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked(request.transport)
        try:
            if not request.body_exists:
                return await handler(request)
            async with asyncio.timeout(BODY_SECONDS):
                return await handler(request)
        except BootserveError as error:
            log.info("refused", path=request.path[:200], address=request.remote, error=str(error))
            return web.Response(status=error.http_status, text=f"{error}\n")
        except TimeoutError:
            log.info("stalled", path=request.path[:200], address=request.remote)
        except ConnectionError:
            log.info("went away", path=request.path[:200], address=request.remote)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=499)  # to nobody: aiohttp wants something to return

    app = web.Application(middlewares=[errors], client_max_size=1 << 20)
    app.router.add_routes(routes)
    return app
