"""Who is asking: a bearer token, or on the Unix socket the peer's uid."""

from __future__ import annotations

import hmac
import os
import pwd
import secrets
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bootserve.core.logins import LoginLimits
from bootserve.errors import BootserveError, Refused, Unauthorized
from bootserve.model.access import ANONYMOUS, Subject
from bootserve.servers.admin.accessbook import EVERYTHING, AccessBook, token_name
from bootserve.servers.admin.routing import PREFIX, SUBJECT

__all__ = ["Gate", "LoginFailed", "TooManyFailures", "Users", "middleware", "read_or_make_token"]

OPEN_PATHS = frozenset({"/healthz", "/readyz", PREFIX + "/login"})

LoginFailed = Callable[[str, str, str], None]
"""Is told the address, the subject that was claimed and the reason of each failed login."""


class TooManyFailures(BootserveError):
    """Logins from this address have failed too often."""

    http_status = 429
    kind = "too-many-failures"


class Users(Protocol):
    """Knows the users of an identity provider by the tokens (JWT) that it signs."""

    def takes(self, token: str) -> bool:
        """Whether ``token`` looks like one of the provider's."""

    def claimed(self, token: str) -> str:
        """Return the subject that ``token`` claims, unverified, for counting failures."""

    async def subject_of(self, token: str, now: float) -> Subject:
        """Return the user; raises Unauthorized, and Unavailable without the provider's keys."""


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


class Gate:
    """Names the subject of each request.

    A good token is let in however many have failed at its address: to look one up costs one hash.
    A user's, whose signature costs more to verify, waits as those that failed do.

    ``token`` is the admin token of the state directory, ``is_ours`` says whether a Host header is
    one of this server's names, ``users`` knows the users of an identity provider, if there is one.
    ``failed`` is told of failed logins, ``refused`` of the address and subject that must wait.
    """

    def __init__(
        self,
        token: str,
        book: AccessBook,
        is_ours: Callable[[str], bool],
        *,
        users: Users | None = None,
        failed: LoginFailed | None = None,
        refused: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        self._token = token.encode()
        self._book = book
        self._is_ours = is_ours
        self._users = users
        self._failed = failed
        self._refused = refused
        self._token_limits = LoginLimits()
        self._user_limits = LoginLimits()

    async def subject(self, request: web.Request) -> Subject:
        """Return who asks; raises Unauthorized, Refused or TooManyFailures."""
        connection = request.get_extra_info("socket")
        peer = None
        if connection is not None and connection.family == socket.AF_UNIX:
            peer = _peer_uid(connection)
        else:
            self._check_names(request)
        if request.path in OPEN_PATHS:
            return ANONYMOUS
        header = request.headers.get("Authorization", "")
        if header:
            address = request.remote or "" if peer is None else f"uid:{peer}"
            return await self._bearer(header, address)
        if peer is None:
            raise Unauthorized(
                "this needs a token",
                hint="Send 'Authorization: Bearer' and a token, or use 'bootserve login'.",
            )
        return self._local(peer)

    def _check_names(self, request: web.Request) -> None:
        """Refuse a page in an admin's browser that reaches us by a name of its own (rebinding)."""
        if not self._is_ours(request.host):
            raise Refused(f"host {request.host[:80]!r} is not this server's")
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_ours(origin.partition("://")[2]):
            raise Refused("cross-origin requests are refused")

    async def _bearer(self, header: str, address: str) -> Subject:
        scheme, _, rest = header.partition(" ")
        given, now = rest.strip(), time.monotonic()
        users = self._users if self._users is not None and self._users.takes(given) else None
        claimed = users.claimed(given) if users else _claimed(given)
        limits = self._user_limits if users else self._token_limits
        if users:
            _check_wait(limits.wait(address, claimed, now))
        try:
            if scheme.lower() != "bearer":
                raise Unauthorized("only 'Authorization: Bearer' is understood")
            return await users.subject_of(given, time.time()) if users else self._holder(given)
        except Unauthorized as error:
            _check_wait(limits.wait(address, claimed, now))
            if self._failed is not None:
                self._failed(address, claimed, str(error))
            if limits.failed(address, claimed, now) and self._refused is not None:
                await self._refused(address, claimed)
            raise

    def _holder(self, given: str) -> Subject:
        if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token):
            return Subject("token:admin", EVERYTHING, "token:admin")
        return self._book.subject_of(given, time.time())

    def _local(self, uid: int) -> Subject:
        grantee = f"uid:{uid}"
        if uid in (0, os.getuid()):
            return Subject(_local_name(uid), EVERYTHING, grantee)
        bindings = self._book.bindings(grantee)
        if not bindings:
            raise Refused(
                f"uid {uid} may not administer this server",
                hint=f"An admin can let it: bootserve access grant {grantee} viewer site.",
            )
        return Subject(_local_name(uid), bindings, grantee)


def middleware(gate: Gate) -> Middleware:
    """Return the middleware that names the subject of each request, or refuses it."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[SUBJECT] = await gate.subject(request)
        return await handler(request)

    return guard


def _claimed(given: str) -> str:
    name = token_name(given)
    return f"token:{name}" if name else "token"


def _check_wait(seconds: float) -> None:
    if seconds > 0:
        error = TooManyFailures(
            f"too many logins failed; try again in {seconds:.0f} s",
            hint="Correct the token before that.",
        )
        error.members["retry_after"] = round(seconds + 0.5)
        raise error


def _peer_uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


def _local_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"
