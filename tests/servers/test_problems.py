"""Whatever goes wrong in the admin plane is answered by a problem, of a type that is listed."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import bootserve.servers
import bootserve.service
from bootserve.errors import BootserveError, PacketError, Unavailable
from bootserve.servers.admin.openapi import PROBLEMS
from bootserve.servers.admin.problems import problems
from bootserve.servers.admin.requests import request_ids
from bootserve.service.admin import crash_teller
from bootserve.service.calm import Calm
from bootserve.service.weblog import make_web_logger
from tests.support.bundles import ROOT

URN = "urn:bootserve:problem:"


def tree(kind: type[BootserveError]) -> Iterator[type[BootserveError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from tree(one)


def errors_of_the_server() -> set[type[BootserveError]]:
    """Return every error that the server's own parts can raise, wherever it is defined."""
    for package in (bootserve.servers, bootserve.service):
        for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(one.name)
    aside = ("bootserve.cli", "bootserve.probe", "bootserve.build", "tests")
    found = {one for one in tree(BootserveError) if not one.__module__.startswith(aside)}
    return found - {PacketError}  # of datagrams: the admin plane reads none


def test_the_types_of_problems_are_those_of_the_manual() -> None:
    manual = (ROOT / "docs/access.md").read_text().partition("### Errors")[2]
    listed = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", manual, re.MULTILINE)
    kinds = {(one.kind, str(one.http_status)) for one in errors_of_the_server()}
    assert set(listed) == kinds, "a type is stable: list a new one, and change none"
    assert len(listed) == len({kind for kind, _ in listed})
    # the API's document has the same; a method that it does not name has no place in it
    assert {int(status) for _, status in kinds} == PROBLEMS.keys() | {405}


class Plane:
    """The admin plane's handling of errors around handlers that fail, and what it logged."""

    def __init__(self) -> None:
        self.logged = structlog.testing.LogCapture()
        self.calm = Calm(structlog.wrap_logger(None, processors=[self.logged]))
        self.app = web.Application(middlewares=[request_ids, problems(crash_teller(self.calm))])
        self.app.router.add_get("/crash", self._crash)
        self.app.router.add_get("/away", self._away)
        self.app.router.add_get("/midway/{how}", self._midway)

    async def _crash(self, _request: web.Request) -> web.Response:
        raise KeyError("nobody thought of this")

    async def _away(self, _request: web.Request) -> web.Response:
        raise Unavailable("a part is away", hint="try again")

    async def _midway(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"the first part\n")
        raise (KeyError if request.match_info["how"] == "crash" else Unavailable)("in its midst")


@pytest.fixture
async def plane() -> AsyncIterator[tuple[Plane, TestClient[Any, Any]]]:
    made = Plane()
    server = TestServer(made.app)
    await server.start_server(logger=make_web_logger(made.calm))
    async with TestClient(server) as client:
        yield made, client


async def test_an_error_that_nobody_thought_of_is_a_problem_and_logged(
    plane: tuple[Plane, TestClient[Any, Any]],
) -> None:
    made, client = plane
    async with client.get("/crash?token=x", headers={"X-Request-Id": "mine"}) as answer:
        assert (answer.status, answer.content_type) == (500, "application/problem+json")
        assert answer.headers["X-Request-Id"] == "mine"
        told = json.loads(await answer.text())
    assert (told["type"], told["status"]) == (f"{URN}internal", 500)
    assert "nobody thought" not in json.dumps(told)
    assert "request mine" in told["hint"]
    (line,) = made.logged.entries
    assert (line["event"], line["log_level"]) == ("request failed", "error")
    assert (line["method"], line["path"], line["request"]) == ("GET", "/crash", "mine")
    assert isinstance(line["exc_info"], KeyError)


async def test_the_others_are_what_they_say(plane: tuple[Plane, TestClient[Any, Any]]) -> None:
    made, client = plane
    found = []
    for method, path in (("GET", "/away"), ("GET", "/none"), ("POST", "/away")):
        async with client.request(method, path) as answer:
            assert answer.content_type == "application/problem+json"
            found.append((answer.status, json.loads(await answer.text())["type"]))
    kinds = ((503, "unavailable"), (404, "not-found"), (405, "method-not-allowed"))
    assert found == [(status, URN + kind) for status, kind in kinds]
    assert made.logged.entries == []


@pytest.mark.parametrize("how", ["crash", "away"])
async def test_an_answer_that_has_begun_is_broken_off(
    plane: tuple[Plane, TestClient[Any, Any]], how: str
) -> None:
    made, client = plane
    async with client.get(f"/midway/{how}") as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert made.logged.entries[0]["log_level"] == "error"
