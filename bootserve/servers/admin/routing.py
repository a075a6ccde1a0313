"""Routes as data: one table drives the handlers, the validation and the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from bootserve.errors import BootserveError, InvalidInput

__all__ = ["PREFIX", "Answer", "Call", "Query", "Request", "Route", "install", "problem"]

PREFIX = "/api/v1"

SUBJECT: web.RequestKey[str] = web.RequestKey("subject", str)


class Request(BaseModel):
    """Base of request bodies: unknown fields are refused, so that a typo is not ignored."""

    model_config = ConfigDict(extra="forbid")


class Query(BaseModel):
    """Base of query strings."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """Base of answers."""

    model_config = ConfigDict(frozen=True)


B = TypeVar("B", bound=Request)
Q = TypeVar("Q", bound=Query)


class Empty(Request):
    """No body."""


class NoQuery(Query):
    """No query string."""


@dataclass(frozen=True, slots=True)
class Call(Generic[B, Q]):
    """One validated request: who asks, the path's names, the query and the body."""

    subject: str
    path: Mapping[str, str]
    query: Q
    body: B
    raw: web.Request


Handler = Callable[[Call[Any, Any]], Awaitable["Answer | web.StreamResponse"]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API. ``path`` is relative to ``/api/v1``.

    ``raw`` marks a body that is bytes and not JSON; ``answer`` is None for an answer that is not
    a JSON object of ours.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    answer: type[Answer] | None = None
    body: type[Request] = Empty
    query: type[Query] = NoQuery
    status: int = 200
    raw: bool = False
    tags: tuple[str, ...] = field(default=())


def problem(error: BootserveError) -> web.Response:
    """Return ``error`` as problem+json (RFC 9457); ``type`` is stable, ``hint`` is our addition."""
    document = {
        "type": f"urn:bootserve:problem:{error.kind}",
        "title": error.kind.replace("-", " "),
        "status": error.http_status,
        "detail": str(error),
    }
    if error.hint:
        document["hint"] = error.hint
    return web.Response(
        status=error.http_status,
        body=json.dumps(document).encode(),
        content_type="application/problem+json",
    )


def install(app: web.Application, routes: Iterable[Route]) -> None:
    """Add ``routes`` to ``app``, below the API's prefix."""
    for route in routes:
        app.router.add_route(route.method, PREFIX + route.path, _adapt(route))


def _adapt(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        call = Call(
            subject=request[SUBJECT],
            path=request.match_info,
            query=_validate(route.query, dict(request.query), "query"),
            body=await _body(route, request),
            raw=request,
        )
        answer = await route.handler(call)
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.Response(
            status=route.status,
            body=answer.model_dump_json().encode(),
            content_type="application/json",
        )

    return handle


async def _body(route: Route, request: web.Request) -> Request:
    if route.raw or route.body is Empty:
        return Empty()
    try:
        data = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError):
        raise InvalidInput("the body is not JSON") from None
    return _validate(route.body, data, "body")


M = TypeVar("M", bound=BaseModel)


def _validate(model: type[M], data: Any, where: str) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{where}{'.' + name if name else ''}: {first['msg']}") from None
