"""What one command works with: where the server is, and where to print."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import typer

from bootserve.cli.client import Api, Endpoint, Reply
from bootserve.cli.output import Output
from bootserve.errors import InvalidInput
from bootserve.servers.admin.routing import Answer
from bootserve.settings import load_settings

__all__ = ["Connection", "Session", "confirm"]

A = TypeVar("A", bound=Answer)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connection:
    """The global options, as given; None where one was not."""

    state_dir: Path | None = None
    url: str | None = None
    token_file: Path | None = None
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
        socket = settings.state_dir / "admin.sock"
        if self.url is None and self.token_file is None:
            return Endpoint(socket)
        url = self.url or f"http://127.0.0.1:{settings.admin_port}"
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f"{url!r} is not a URL", hint="Write it as http://127.0.0.1:8081.")
        return Endpoint(socket, url, _token(self.token_file or settings.state_dir / "admin.token"))


def _token(file: Path) -> str:
    try:
        token = file.read_text().strip()
    except OSError as error:
        raise InvalidInput(
            f"cannot read the admin token in {file}: {error.strerror}",
            hint="The server keeps it in STATE_DIR/admin.token; name a copy with --token-file.",
        ) from None
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidInput(f"{file} holds no admin token")
    return token


class Session:
    """One command's run."""

    def __init__(self, connection: Connection, *, json: bool = False) -> None:
        self._connection = connection
        self.out = Output(json=json)

    @cached_property
    def _endpoint(self) -> Endpoint:
        return self._connection.endpoint()

    def run(self, work: Callable[[Api], Awaitable[T]]) -> T:
        """Run ``work`` with a connection to the server and return what it returns."""

        async def connected() -> T:
            async with Api(self._endpoint) as api:
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
    ) -> Reply[A]:
        """Return a whole list, or its first ``most`` items; see :meth:`Api.pages`."""
        return self.run(lambda api: api.pages(path, answer, query=query, most=most))

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
