"""What one command works with: where the server is, and where to print."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import typer

from bootserve.cli.client import Api, Endpoint, Reply
from bootserve.cli.output import Output
from bootserve.cli.saved import login_of
from bootserve.errors import InvalidInput
from bootserve.servers.admin.routing import Answer
from bootserve.settings import load_settings

__all__ = ["Connection", "Session", "check_url", "confirm"]

A = TypeVar("A", bound=Answer)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connection:
    """The global options, as given; None where one was not."""

    state_dir: Path | None = None
    url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    config: Path | None = None

    @classmethod
    def of(cls, context: typer.Context) -> Self:
        """Return the options given to a command or before it; those of the command win."""
        found: dict[str, Any] = {}
        layer: Any = context
        while layer is not None:
            for name in (field.name for field in fields(cls)):
                if found.get(name) is None:
                    found[name] = layer.params.get(name)
            layer = layer.parent
        return cls(**found)

    def endpoint(self) -> Endpoint:
        """Return where the admin API is; raises InvalidInput for bad settings or token file."""
        settings, _ = load_settings({"state_dir": self.state_dir}, self.config)
        socket, url = settings.state_dir / "admin.sock", self._url()
        if url is None and self.token_file is None:
            return Endpoint(socket, token=_plain(os.environ.get("BOOTSERVE_TOKEN", "")))
        url = check_url(url or f"http://127.0.0.1:{settings.admin_port}")
        return Endpoint(socket, url, self._token(url, settings.state_dir), self._ca_file())

    def open_endpoint(self) -> Endpoint:
        """Return where the admin API is, without a token: for asking how to get one."""
        settings, _ = load_settings({"state_dir": self.state_dir}, self.config)
        url = self._url()
        checked = "" if url is None else check_url(url)
        return Endpoint(settings.state_dir / "admin.sock", checked, "", self._ca_file())

    def _url(self) -> str | None:
        return self.url or os.environ.get("BOOTSERVE_SERVER") or None

    def _ca_file(self) -> Path | None:
        named = os.environ.get("BOOTSERVE_CA_FILE")
        return self.ca_file or (Path(named) if named else None)

    def _token(self, url: str, state_dir: Path) -> str:
        if self.token_file is not None:
            return _read_token(self.token_file)
        found = _plain(os.environ.get("BOOTSERVE_TOKEN", "")) or _saved_token(url)
        if found:
            return found
        if not _is_loopback(urlsplit(url).hostname or ""):  # this machine's is nobody else's to see
            raise InvalidInput(
                f"there is no token for {url}",
                hint=f"Run 'bootserve login --server {url}', set BOOTSERVE_TOKEN, or name a file"
                " with --token-file.",
            )
        return _read_token(state_dir / "admin.token")


def _saved_token(url: str) -> str:
    """Return the token of the login at ``url``; empty without one, InvalidInput when it is over."""
    login = login_of(url)
    if login is None:
        return ""
    if login.expires_at <= time.time():
        raise InvalidInput(
            f"the login at {url} has expired", hint=f"Run 'bootserve login --server {url}'."
        )
    return login.token


def check_url(url: str) -> str:
    """Return ``url``, of a server that a token may be sent to; raises InvalidInput.

    That is over TLS, or to this machine itself.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url!r} is not a URL", hint="Write it as https://boot.example:8081.")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise InvalidInput(
            f"{url} would send the token in clear over the network", hint="Use https://."
        )
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _plain(token: str) -> str:
    if not token.isascii() or not token.isprintable():
        raise InvalidInput("BOOTSERVE_TOKEN holds no token")
    return token.strip()


def _read_token(file: Path) -> str:
    try:
        token = file.read_text().strip()
    except OSError as error:
        raise InvalidInput(
            f"cannot read the admin token in {file}: {error.strerror}",
            hint="Name a file with --token-file, set BOOTSERVE_TOKEN, or use 'bootserve login'.",
        ) from None
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidInput(f"{file} holds no admin token")
    return token


class Session:
    """One command's run."""

    def __init__(self, connection: Connection, *, json: bool = False) -> None:
        self.connection = connection
        self.out = Output(json=json)

    @cached_property
    def _endpoint(self) -> Endpoint:
        return self.connection.endpoint()

    def run(self, work: Callable[[Api], Awaitable[T]]) -> T:
        """Run ``work`` with a connection to the server and return what it returns."""

        endpoint = self._endpoint

        async def connected() -> T:
            async with Api(endpoint) as api:
                return await work(api)

        return asyncio.run(connected())

    def call(
        self,
        method: str,
        path: str,
        answer: type[A],
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int] | None = None,
        patient: bool = False,
        base: int | None = None,
    ) -> Reply[A]:
        """Send one request; see :meth:`Api.call`."""
        return self.run(
            lambda api: api.call(
                method, path, answer, body=body, query=query, patient=patient, base=base
            )
        )

    def pages(
        self,
        path: str,
        answer: type[A],
        *,
        query: Mapping[str, str | int] | None = None,
        most: int | None = None,
        counted: Collection[str] = (),
    ) -> Reply[A]:
        """Return a whole list, or its first ``most`` items; see :meth:`Api.pages`."""
        return self.run(
            lambda api: api.pages(path, answer, query=query, most=most, counted=counted)
        )

    def show(self, reply: Reply[A], render: Callable[[Output, A], None]) -> None:
        """Print an answer: unchanged with ``--json``, else as ``render`` does."""
        if self.out.is_json:
            self.out.json(reply.raw)
        else:
            render(self.out, reply.value)


def confirm(out: Output, question: str) -> bool:
    """Ask on the terminal; anything but yes, and any stdin that is no terminal, is no."""
    if not sys.stdin.isatty():
        return False
    out.note(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
