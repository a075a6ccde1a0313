"""The admin plane's listeners: the Unix socket, and TCP with TLS or on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from bootserve.core.claims import check_provider_url, parse_rule
from bootserve.errors import BootserveError, InvalidInput
from bootserve.servers.admin.accessbook import AccessBook
from bootserve.servers.admin.auth import Gate, read_or_make_token
from bootserve.servers.admin.oidc import OidcUsers, Provider
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.problems import Crashed
from bootserve.servers.admin.schemas_access import LoginOut
from bootserve.servers.admin.server import make_app
from bootserve.service.calm import Calm
from bootserve.service.ports import Ports
from bootserve.service.tls import Tls
from bootserve.settings import Settings
from bootserve.store.audit import REQUEST_ID

__all__ = [
    "crash_teller",
    "find_users",
    "is_ours",
    "keep_uses",
    "listen",
    "login_of",
    "make_admin_app",
]

USES_SECONDS = 60.0


def is_ours(settings: Settings, tls: Tls | None) -> Callable[[str], bool]:
    """Return what says whether a Host header names the admin listener.

    It does by loopback's names, by its own address, and by the names in the certificate.
    """
    port = settings.admin_port
    local = {"127.0.0.1", "localhost", settings.admin_address}

    def ours(host: str) -> bool:
        name, colon, given = host.rpartition(":")
        if not colon:
            name, given = host, "443"
        if given != str(port):
            return False
        return name.lower() in local or (tls is not None and tls.has(name))

    return ours


def find_users(settings: Settings, book: AccessBook) -> OidcUsers | None:
    """Return the users of the provider in ``settings``, None without one; raises InvalidInput."""
    issuer, client = settings.oidc_issuer, settings.oidc_client_id
    if not issuer:
        return None
    check_provider_url(issuer)
    if not client:
        raise InvalidInput(
            "oidc_issuer needs oidc_client_id", hint="Register bootserve at the provider."
        )
    rules = [parse_rule(rule) for rule in settings.oidc_bindings]
    audience = settings.oidc_audience or client
    return OidcUsers(Provider(issuer, audience, settings.oidc_name_claim, rules), book)


def login_of(settings: Settings) -> LoginOut:
    """Return where users log in."""
    return LoginOut(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        scope=settings.oidc_scope,
    )


async def make_admin_app(
    settings: Settings,
    plane: AdminPlane,
    registry: CollectorRegistry,
    calm: Calm,
    tls: Tls | None,
) -> web.Application:
    """Return the admin plane's application; raises InvalidInput for a bad token file."""
    try:
        token = await asyncio.to_thread(read_or_make_token, settings.state_dir / "admin.token")
    except OSError as error:
        raise InvalidInput(f"cannot keep the admin token: {error}") from None

    def failed(address: str, subject: str, reason: str) -> None:
        calm.warning("login failed", address=address, subject=subject, reason=reason)

    users = find_users(settings, plane.access)
    gate = Gate(
        token,
        plane.access,
        is_ours(settings, tls),
        users=users,
        failed=failed,
        refused=plane.access.note_refusals,
    )
    app = make_app(plane, registry, gate, crash_teller(calm))
    if users is not None:
        app.on_shutdown.append(lambda _app: users.close())
    return app


def crash_teller(calm: Calm) -> Crashed:
    """Return what logs a request that failed for no reason that was thought of."""

    def tell(request: web.Request, error: Exception) -> None:
        path, number = request.path[:200], REQUEST_ID.get()
        calm.error(
            "request failed", method=request.method, path=path, request=number, exc_info=error
        )

    return tell


async def listen(
    settings: Settings,
    ports: Ports,
    runner: web.AppRunner,
    tls: Tls | None,
    undo: Callable[..., Any],
) -> None:
    """Listen on the Unix socket, and on TCP where that is bound; ``undo`` is called at the end."""
    path = settings.state_dir / "admin.sock"
    path.unlink(missing_ok=True)
    await web.UnixSite(runner, path).start()
    path.chmod(0o660)
    undo(partial(path.unlink, missing_ok=True))
    if ports.admin:
        context = tls.context if tls else None
        await web.SockSite(runner, ports.admin, backlog=1024, ssl_context=context).start()


async def keep_uses(book: AccessBook) -> None:
    """Write down, once a minute and at the end, when tokens were used."""
    try:
        while True:
            await asyncio.sleep(USES_SECONDS)
            with suppress(BootserveError):  # the next minute tries again
                await book.flush()
    finally:
        with suppress(BootserveError):
            await book.flush()
