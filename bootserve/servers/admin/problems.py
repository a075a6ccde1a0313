"""Every answer of the admin plane that tells of an error is problem+json (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bootserve.errors import BootserveError, NotFound
from bootserve.store.audit import REQUEST_ID

__all__ = ["Crashed", "MethodNotAllowed", "problem", "problems"]

Crashed = Callable[[web.Request, Exception], None]
"""Is told of a request that failed for no reason that was thought of, and of the error."""


class MethodNotAllowed(BootserveError):
    """What is there, and not to be asked for in this way."""

    http_status = 405
    kind = "method-not-allowed"


def problem(error: BootserveError) -> web.Response:
    """Return ``error`` as problem+json; ``type`` is stable, ``hint`` is our addition."""
    document = {
        "type": f"urn:bootserve:problem:{error.kind}",
        "title": error.kind.replace("-", " "),
        "status": error.http_status,
        "detail": str(error),
        **error.members,
    }
    if error.hint:
        document["hint"] = error.hint
    wait = error.members.get("retry_after")
    headers = {} if wait is None else {"Retry-After": str(wait)}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(
        status=error.http_status,
        body=json.dumps(document).encode(),
        content_type="application/problem+json",
        headers=headers,
    )


def problems(crashed: Crashed) -> Middleware:
    """Return the middleware that makes problems of errors.

    An answer that has begun cannot become one: aiohttp breaks it off and logs why.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except (ConnectionError, web.HTTPException, BootserveError) as error:
            found = _problem_of(request, error)
            if found is None or _has_begun(request):
                raise
            return found
        except Exception as error:
            if _has_begun(request):
                raise
            crashed(request, error)
            hint = f"Its log says why, under request {REQUEST_ID.get()}."
            return problem(BootserveError("the server failed at this", hint=hint))

    return guard


def _problem_of(request: web.Request, error: Exception) -> web.Response | None:
    """Return the problem of an error that has one; a client that is gone needs none."""
    match error:
        case BootserveError():
            return problem(error)
        case web.HTTPNotFound():
            return problem(NotFound(f"there is no {request.path}"))
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            answer = problem(MethodNotAllowed(f"use {allowed}"))
            answer.headers["Allow"] = allowed
            return answer
    return None


def _has_begun(request: web.Request) -> bool:
    """Whether part of an answer to ``request`` was sent."""
    return request.writer.output_size > 0
