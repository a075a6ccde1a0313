"""Logging in and out as a user of the site's identity provider."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

import typer

from bootserve.cli import oidc
from bootserve.cli.client import Api
from bootserve.cli.command import command
from bootserve.cli.output import local_time
from bootserve.cli.saved import Login, forget_login, save_login
from bootserve.cli.session import Session
from bootserve.core.claims import check_provider_url
from bootserve.errors import BootserveError, InvalidInput, NotFound
from bootserve.servers.admin.schemas_access import LoginOut

__all__ = ["add_commands"]

PANEL = "Who may"


def add_commands(app: typer.Typer) -> None:
    """Add ``login`` and ``logout`` to ``app``."""
    command(app, "login", "bootserve login --server https://boot.example:8081", panel=PANEL)(login)
    command(app, "logout", "bootserve logout --server https://boot.example:8081", panel=PANEL)(
        logout
    )


def login(
    session: Session,
    *,
    browser: Annotated[
        bool,
        typer.Option("--browser", help="Log in by this machine's browser, not by a typed code."),
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="The loopback port that the browser comes back to; 0 is any free one.",
        ),
    ] = 0,
) -> None:
    """Log in as a user of the identity provider that the server names.

    Later commands with the same --server act as that user, until the login expires.
    """
    url = _url(session)
    got = asyncio.run(_log_in(session, url, browser=browser, port=port))
    file = save_login(got)
    if session.out.is_json:
        session.out.json({"server": url, "expires_at": got.expires_at})
    else:
        until = local_time(got.expires_at)
        session.out.line(f"Logged in at {url} until {until}; kept in {file}.")


async def _log_in(session: Session, url: str, *, browser: bool, port: int) -> Login:
    where = await _where(session)
    client = await oidc.Client.discover(where.issuer, where.client_id, where.scope)
    if browser or not oidc.has_device_flow(client):
        return await oidc.by_browser(client, url, session.out.note, port)
    return await oidc.by_device(client, url, session.out.note)


async def _where(session: Session) -> LoginOut:
    async with Api(session.connection.open_endpoint()) as api:
        where = (await api.call("GET", "/login", LoginOut)).value
    if not where.issuer:
        raise NotFound(
            "this server has no identity provider",
            hint="Set oidc_issuer and oidc_client_id, or ask an admin for a token.",
        )
    check_provider_url(where.issuer)
    return where


def logout(session: Session) -> None:
    """Forget the login at --server, and end it at the identity provider where that can be done."""
    url = _url(session)
    gone = forget_login(url)
    if gone is None:
        raise NotFound(f"there is no login at {url}")
    ended = asyncio.run(_log_out(session, gone))
    if session.out.is_json:
        session.out.json({"server": url, "ended_at_provider": ended})
    else:
        session.out.line(f"The login at {url} is forgotten.")


async def _log_out(session: Session, gone: Login) -> bool:
    with contextlib.suppress(BootserveError):  # it is forgotten here whatever the provider says
        where = await _where(session)
        client = await oidc.Client.discover(where.issuer, where.client_id, where.scope)
        return await oidc.revoke(client, gone)
    return False


def _url(session: Session) -> str:
    url = session.connection.open_endpoint().url
    if not url:
        raise InvalidInput(
            "say which server: --server https://boot.example:8081",
            hint="On the admin socket your user id says who you are; there is no login.",
        )
    return url
