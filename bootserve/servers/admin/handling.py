"""What is common to all operations: how a request becomes a call, and an answer a response."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import partial
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from bootserve.errors import BootserveError, InvalidInput
from bootserve.servers.admin.repeats import Repeats, Ticket
from bootserve.servers.admin.routing import (
    PREFIX,
    SUBJECT,
    Call,
    Done,
    Empty,
    Query,
    Request,
    Route,
)
from bootserve.servers.committer import Committer
from bootserve.servers.current import Current

__all__ = ["MAX_BODY", "install", "parse_body", "parse_if_match", "parse_query"]

MAX_BODY = 32 << 20
"""Bytes of a body: the whole of a site of 100,000 nodes fits."""

_READ = ("GET", "HEAD")


class UnsupportedMedia(BootserveError):
    """A body of a kind that the route does not take."""

    http_status = 415
    kind = "unsupported-media-type"


class TooLarge(BootserveError):
    """A body larger than any that makes sense."""

    http_status = 413
    kind = "too-large"


class _Desk:
    """Answers the requests of one route."""

    def __init__(
        self, route: Route, current: Current, committer: Committer, repeats: Repeats
    ) -> None:
        self._route = route
        self._current = current
        self._committer = committer
        self._repeats = repeats

    async def handle(self, request: web.Request) -> web.StreamResponse:
        who, route = request[SUBJECT], self._route
        route.needs.check_role(who)
        key = request.headers.get("Idempotency-Key")
        if key is None or route.raw or route.method in _READ:
            return await self._answer(request, None)
        print_of = await _fingerprint(request)
        async with self._repeats.once(who.name, key, print_of, route.status) as ticket:
            if ticket.kept is not None:
                return ticket.kept.response()
            return await self._answer(request, ticket)

    async def _answer(self, request: web.Request, ticket: Ticket | None) -> web.StreamResponse:
        route = self._route
        call = Call(
            who=request[SUBJECT],
            path=request.match_info,
            query=parse_query(route, request.query.items()),
            body=await _body(route, request),
            raw=request,
            base=_if_match(request) if route.method not in _READ else None,
            repeat=ticket,
        )
        route.needs.check(call, self._current.snapshot.state)
        await self._committer.check_base(call.base)
        answer: Done | web.StreamResponse
        if ticket is None:
            answer = await route.handler(call)
        else:
            commits = route.answer is not None and route.answer.commits
            answer = await ticket.do(
                partial(_written, route, call), secret=route.secret, commits=commits
            )
        if isinstance(answer, web.StreamResponse):
            return answer
        return respond(answer, route.status)


async def _written(route: Route, call: Call[Any, Any]) -> Done:
    answer = await route.handler(call)
    assert not isinstance(answer, web.StreamResponse), "what is streamed cannot be kept"
    return answer


def respond(answer: Done, status: int) -> web.Response:
    """Return ``answer`` as JSON, with its revision as its ETag."""
    if answer is None:
        return web.Response(status=status)
    number = answer.revision_number()
    return web.Response(
        status=status,
        body=answer.model_dump_json().encode(),
        content_type="application/json",
        headers={} if number is None else {"ETag": f'"{number}"'},
    )


def install(
    app: web.Application,
    routes: Iterable[Route],
    current: Current,
    committer: Committer,
    repeats: Repeats,
) -> None:
    """Add ``routes`` to ``app``, below the API's prefix.

    ``current`` is what their needs look at, ``committer`` knows what If-Match is compared with,
    ``repeats`` the answers under Idempotency-Keys.
    """
    for route in routes:
        desk = _Desk(route, current, committer, repeats)
        app.router.add_route(route.method, PREFIX + route.path, desk.handle)


def parse_query(route: Route, said: Iterable[tuple[str, str]]) -> Query:
    """Return the query of ``route`` that these names with values are; raises InvalidInput."""
    found: dict[str, str] = {}
    for name, value in said:
        if name in found:
            raise InvalidInput(f"query.{name} is given twice")
        found[name] = value
    return _validate(route.query, found, "query")


def _if_match(request: web.Request) -> int | None:
    return parse_if_match(request.headers.get("If-Match", "*"))


def parse_if_match(header: str) -> int | None:
    """Return the revision in If-Match (RFC 9110, 13.1.1); None for ``*``. Raises InvalidInput."""
    text = header.strip()
    if text == "*":
        return None
    number = text.removeprefix('"').removesuffix('"')
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise InvalidInput(
            f"If-Match {text[:40]!r} is not a revision",
            hint='Pass the ETag of what you read, such as "42".',
        )
    return int(number)


async def _fingerprint(request: web.Request) -> str:
    """Return what tells one request from another under the same Idempotency-Key."""
    start = f"{request.method} {request.path_qs}\n".encode("utf-8", "surrogateescape")
    return hashlib.sha256(start + await _read(request)).hexdigest()


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge(f"the body is larger than {MAX_BODY >> 20} MiB") from None


async def _body(route: Route, request: web.Request) -> Request:
    if route.raw or route.body is Empty:
        return Empty()
    data = await _read(request)
    # No Content-Type, and curl's default for -d, are taken for what the route wants.
    if data and request.content_type not in _JSON_TYPES:
        raise UnsupportedMedia(
            f"a body of type {request.content_type!r} is not taken here",
            hint="Send 'Content-Type: application/json'.",
        )
    return parse_body(route, data)


def parse_body(route: Route, data: bytes) -> Request:
    """Return the body of ``route`` that ``data`` is; raises InvalidInput for none."""
    try:
        parsed = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        raise InvalidInput("the body is not JSON") from None
    return _validate(route.body, parsed, "body")


_JSON_TYPES = (
    "application/json",
    "application/octet-stream",  # what aiohttp says of a request without a Content-Type
    "application/x-www-form-urlencoded",
)

M = TypeVar("M", bound=BaseModel)


def _validate(model: type[M], data: Any, where: str) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{where}{'.' + name if name else ''}: {first['msg']}") from None
