"""The boot plane's application: routes joined, errors turned into short plain answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from bootserve.errors import BootserveError

__all__ = ["make_app"]


def make_app(routes: Iterable[web.AbstractRouteDef], log: Any) -> web.Application:
    """Return the application that serves ``routes``; ``log`` is a structlog logger.

    An error is one line of text with its status: iPXE shows the status, a person with curl the
    line.
    """

    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except BootserveError as error:
            log.info("refused", path=request.path[:200], address=request.remote, error=str(error))
            return web.Response(status=error.http_status, text=f"{error}\n")
        except TimeoutError:
            log.info("stalled", path=request.path[:200], address=request.remote)
            raise ConnectionResetError("the client stalled") from None

    app = web.Application(middlewares=[errors], client_max_size=1 << 20)
    app.router.add_routes(routes)
    return app
