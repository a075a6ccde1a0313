"""Who is asking: the peer's uid on the Unix socket, a bearer token on TCP."""

from __future__ import annotations

import hmac
import os
import pwd
import secrets
import socket
import struct
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bootserve.errors import BootserveError, Refused, Unauthorized
from bootserve.model.access import ANONYMOUS, AccessRole, Binding, Subject
from bootserve.model.desired import Scope, ScopeKind
from bootserve.servers.admin.routing import SUBJECT, problem

__all__ = ["middleware", "read_or_make_token"]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
EVERYTHING = (Binding(AccessRole.ADMIN, Scope(ScopeKind.SITE)),)


def read_or_make_token(path: Path) -> str:
    """Return the admin token in ``path``, made and written with mode 0600 at first start."""
    try:
        token = path.read_text().strip()
        if len(token) >= 32:
            return token
    except FileNotFoundError:
        pass
    token = secrets.token_hex(32)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    return token


def middleware(token: str, hosts: frozenset[str]) -> Middleware:
    """Return the middleware that names the subject of each request, or refuses it.

    On TCP the Host must be one of ``hosts`` and an Origin, if any, the same, so that a page in an
    admin's browser cannot reach the API by a name of its own (DNS rebinding). Errors become
    problem+json here.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            request[SUBJECT] = _subject(request, token, hosts)
            return await handler(request)
        except BootserveError as error:
            return problem(error)
        except web.HTTPNotFound:
            return problem(_http_error(404, "not-found", f"there is no {request.path}"))
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return problem(_http_error(405, "method-not-allowed", f"use {allowed}"))

    return guard


def _http_error(status: int, kind: str, message: str) -> BootserveError:
    error = BootserveError(message)
    error.http_status, error.kind = status, kind
    return error


def _subject(request: web.Request, token: str, hosts: frozenset[str]) -> Subject:
    connection = request.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        return _peer(connection)
    if request.host not in hosts:
        raise Refused(f"host {request.host[:80]!r} is not this server's")
    origin = request.headers.get("Origin")
    if origin is not None and origin.removeprefix("http://") not in hosts:
        raise Refused("cross-origin requests are refused")
    if request.path in OPEN_PATHS:
        return ANONYMOUS
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Unauthorized(
            "this needs the admin token", hint="Send 'Authorization: Bearer' and the token."
        )
    return Subject("token:admin", EVERYTHING)


def _peer(connection: socket.socket) -> Subject:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", credentials)
    if uid not in (0, os.getuid()):
        raise Refused(f"uid {uid} may not administer this server")
    return Subject(_local_name(uid), EVERYTHING, f"uid:{uid}")


def _local_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"
