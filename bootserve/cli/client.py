"""The CLI's side of the admin API: one client, over the Unix socket or loopback TCP."""

from __future__ import annotations

import errno
import io
import json
import os
import ssl
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import ValidationError

from bootserve.errors import BootserveError, InvalidInput
from bootserve.servers.admin.routing import PREFIX, Answer

__all__ = ["Api", "Endpoint", "Problem", "Reply", "Unreachable", "given", "segment"]

A = TypeVar("A", bound=Answer)

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the admin API is: a Unix socket, or with ``url`` a TCP address, and the token.

    ``ca_file`` is trusted in place of the system's certificate authorities.
    """

    socket: Path
    url: str = ""
    token: str = ""
    ca_file: Path | None = None

    def __str__(self) -> str:
        return self.url or str(self.socket)


@dataclass(frozen=True, slots=True)
class Reply(Generic[A]):
    """An answer: validated, and as the JSON that came."""

    value: A
    raw: Any


class Problem(BootserveError):
    """The server refused, in its own words (problem+json)."""

    def __init__(self, status: int, detail: str, hint: str = "") -> None:
        super().__init__(detail, hint=hint)
        self.status = status


class Unreachable(BootserveError):
    """The server cannot be reached, or broke off; the CLI exits with 3."""

    kind = "unreachable"


def given(**values: str | int | None) -> dict[str, str | int]:
    """Return those of ``values`` that say something, for a query: not None and no empty text."""
    return {name: value for name, value in values.items() if value not in (None, "")}


def segment(text: str) -> str:
    """Return ``text`` as one segment of a path; raises InvalidInput for what cannot be one."""
    if text in ("", ".", ".."):
        raise InvalidInput(f"{text!r} is not a name")
    return quote(_encodable(text), safe="@:")


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("an argument is not valid UTF-8") from None
    return text


class Api:
    """A connection to the admin API; use it as an async context manager.

    Every request raises Problem when the server refuses and Unreachable when it cannot be reached.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __aenter__(self) -> Self:
        end = self._endpoint
        headers = {"Authorization": f"Bearer {end.token}"} if end.token else {}
        self._session = aiohttp.ClientSession(
            connector=_connector(end),
            headers=headers,
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        answer: type[A],
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int] | None = None,
        data: bytes | None = None,
        patient: bool = False,
        base: int | None = None,
    ) -> Reply[A]:
        """Send one request and return its answer.

        ``body`` is sent as JSON, ``data`` as bytes. ``patient`` waits for the answer as long as it
        takes: for what re-reads whole artifacts. ``base`` is the revision that must still be the
        current one. A write is sent under a key of its own: aiohttp repeats a request whose
        connection breaks off, and the server does it once.
        """
        text = None if body is None else _encodable(json.dumps(body, ensure_ascii=False))
        payload = text if data is None else io.BytesIO(data)
        headers = {} if base is None else {"If-Match": f'"{base}"'}
        if method != "GET" and data is None:
            headers["Idempotency-Key"] = str(uuid.uuid4())
        async with self._request(method, path, query, payload, patient, headers) as response:
            content = await response.read()
        try:
            raw = json.loads(content)
            return Reply(answer.model_validate(raw), raw)
        except (ValueError, RecursionError, ValidationError):
            raise self._not_ours() from None

    async def pages(
        self,
        path: str,
        answer: type[A],
        *,
        query: Mapping[str, str | int] | None = None,
        most: int | None = None,
        counted: Collection[str] = (),
    ) -> Reply[A]:
        """Return all pages of a list as one answer, or as many as make ``most`` items.

        ``counted`` names the numbers that each page has of its own, and that are added up.
        """
        whole = (await self.call("GET", path, answer, query=query)).raw
        lists = [name for name, value in whole.items() if isinstance(value, list)]
        while whole.get("next") and (most is None or sum(len(whole[n]) for n in lists) < most):
            more = {**(query or {}), "cursor": whole["next"]}
            part = (await self.call("GET", path, answer, query=more)).raw
            for name in lists:
                whole[name] += part[name]
            for name in counted:
                whole[name] += part[name]
            whole["next"] = part["next"]
        if most is not None:
            for name in lists:
                del whole[name][most:]
        return Reply(answer.model_validate(whole), whole)

    async def discard(self, method: str, path: str) -> None:
        """Send one request whose answer has no content."""
        async with self._request(method, path, None, None, False):
            pass

    async def download(
        self, path: str, query: Mapping[str, str | int] | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes of a raw answer."""
        async with self._request("GET", path, query, None, False) as response:
            async for chunk in response.content.iter_chunked(1 << 20):
                yield chunk

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None,
        payload: io.BytesIO | str | None,
        patient: bool,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        for value in (query or {}).values():
            _encodable(str(value))
        base = self._endpoint.url.rstrip("/") or "http://localhost"
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=CONNECT_SECONDS,
            sock_read=None if patient else ANSWER_SECONDS,
        )
        kind = {"Content-Type": "application/json"} if isinstance(payload, str) else {}
        try:
            async with self._session.request(
                method,
                base + PREFIX + path,
                params=query,
                data=payload,
                headers={**kind, **(headers or {})},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    raise self._problem(response.status, await response.read())
                yield response
        except aiohttp.InvalidURL:
            raise InvalidInput(
                f"{base!r} is not a URL", hint="Write it as http://127.0.0.1:8081."
            ) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            raise self._untrusted(error) from None
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error.os_error) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._broken(error) from None

    def _problem(self, status: int, data: bytes) -> BootserveError:
        try:
            problem = json.loads(data)
            return Problem(status, str(problem["detail"]), str(problem.get("hint", "")))
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            if status >= 500:
                return Problem(
                    status,
                    f"the server failed with HTTP status {status}",
                    "Its log says why.",
                )
            return self._not_ours()

    def _not_ours(self) -> Unreachable:
        return Unreachable(
            f"what answers at {self._endpoint} is not a bootserve of this version",
            hint="Check --url, and that server and command line are the same version.",
        )

    def _untrusted(self, error: Exception) -> Unreachable:
        cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
        said = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or cause
        return Unreachable(
            f"the TLS of {self._endpoint} is not trusted: {said}",
            hint="Name the CA of its certificate with --ca-file, and the server as it is named.",
        )

    def _broken(self, error: Exception) -> Unreachable:
        waited = isinstance(error, TimeoutError)
        return Unreachable(
            f"the server at {self._endpoint} "
            + ("does not answer" if waited else "broke the connection off"),
            hint="Whether a change was made is in 'bootserve revisions'.",
        )

    def _unreachable(self, error: OSError) -> Unreachable:
        end = self._endpoint
        if end.url:
            return Unreachable(
                f"nothing answers at {end.url}: {_words(error)}",
                hint="Is 'bootserve serve' running, and is this its admin_port?",
            )
        message, hint = _socket_trouble(end.socket, error)
        return Unreachable(message, hint=hint)


def _connector(end: Endpoint) -> aiohttp.BaseConnector | None:
    """Return how to connect; raises InvalidInput for a CA file that is none."""
    if not end.url:
        return aiohttp.UnixConnector(path=str(end.socket))
    if end.ca_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(end.ca_file))
    except (OSError, ssl.SSLError) as error:
        why = error.strerror if not isinstance(error, ssl.SSLError) else "it holds no certificate"
        raise InvalidInput(f"cannot use the CA file {end.ca_file}: {why}") from None
    return aiohttp.TCPConnector(ssl=context)


def _words(error: OSError) -> str:
    """Return the system's words for ``error``; asyncio puts its own in place of them."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _socket_trouble(path: Path, error: OSError) -> tuple[str, str]:
    """Return what a failed connect(2) to the admin socket means, and what to do."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return (
                f"no server is running with this state directory: there is no {path}",
                "Start 'bootserve serve', or name its directory with --state-dir.",
            )
        case errno.EACCES | errno.EPERM:
            return (
                f"this user may not open the admin socket {path}",
                "Run it as root (sudo), or pass --url and --token-file.",
            )
        case errno.ECONNREFUSED:
            return (
                f"the server that made {path} is no longer running",
                "Start it again: 'bootserve serve'.",
            )
        case _:
            return (
                f"the admin socket {path} cannot be opened: {_words(error)}",
                "Name the server's directory with --state-dir.",
            )
