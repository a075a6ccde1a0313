"""A write under an Idempotency-Key is done at most once, whichever route it is: each is tried.

The handlers are replaced by one that counts; what handles requests, keys and refusals is real.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bootserve.errors import BootserveError, Conflict, StorageFull, Unavailable
from bootserve.model.desired import DesiredState
from bootserve.servers.admin.accessbook import AccessBook
from bootserve.servers.admin.auth import Gate, middleware
from bootserve.servers.admin.handling import install
from bootserve.servers.admin.needs import ANYBODY
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.problems import problems
from bootserve.servers.admin.repeats import Repeats
from bootserve.servers.admin.routing import Answer, Call, Route
from bootserve.servers.admin.server import all_routes
from bootserve.servers.committer import Committer
from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.access import AccessStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.desired import DesiredStore
from bootserve.store.generations import GenerationStore
from bootserve.store.kept_answers import KeptAnswer, KeptAnswers
from bootserve.store.nbps import NbpStore
from tests.servers.test_access_table import TABLE
from tests.support.states import snapshot

TOKEN = "t" * 64
UNKNOWN = "urn:bootserve:problem:outcome-unknown"
Work = Callable[[], Awaitable[None]]


class Counted(Answer):
    """The how manieth time it was done."""

    time: int


def writes() -> list[Route]:
    """Return every route of the API that writes."""
    empty = cast(AdminPlane, SimpleNamespace(**{one.name: None for one in fields(AdminPlane)}))
    return [one for one in all_routes(empty) if one.method != "GET"]


WRITES = writes()
KEYED = [one for one in WRITES if not one.raw]
MARKED = [one for one in KEYED if one.answer is None or not one.answer.commits]
"""Those whose answer is not kept in the transaction of a commit."""


def name(route: Route) -> str:
    """Return what the route is called in the table of who may."""
    return f"{route.method} {route.path}"


def raised(_request: web.Request, error: Exception) -> None:
    raise error


async def nothing() -> None:
    pass


class World:
    """A database, and servers of the admin plane's routes on it, one after another."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(sqlite_url(folder / "db"))
        self.sql = DatabaseThread()
        self.store = KeptAnswers(self.database)
        self.times: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def server(self, work: Work = nothing) -> AsyncIterator[TestClient[Any, Any]]:
        """A server whose every write counts, and then does ``work``."""
        current = Current(snapshot(DesiredState()), cast(Any, None))
        stores = (DesiredStore(self.database), GenerationStore(self.database))
        nbps = NbpStore(self.database)
        committer = Committer(current, *stores, nbps, self.sql, lambda _: None)
        book = AccessBook(AccessStore(self.database), self.sql)
        gate = Gate(TOKEN, book, lambda _: True)
        app = web.Application(middlewares=[problems(raised), middleware(gate)])
        routes = [self._counting(one, work) for one in WRITES]
        install(app, routes, current, committer, Repeats(self.store, self.sql))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with TestClient(TestServer(app), headers=headers) as client:
            yield client

    def _counting(self, route: Route, work: Work) -> Route:
        async def handler(_call: Call[Any, Any]) -> Counted | None:
            self.times[name(route)] += 1
            count = self.times[name(route)]
            await work()
            return None if route.status == 204 else Counted(time=count)

        return replace(route, handler=handler, needs=ANYBODY)

    def close(self) -> None:
        self.sql.close()
        self.database.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    one = World(tmp_path)
    yield one
    one.close()


async def ask(client: TestClient[Any, Any], route: Route, key: str = "key") -> tuple[int, Any]:
    """Return the status and body of a request that the route takes."""
    example = TABLE[name(route)][1][0]
    async with client.request(
        route.method,
        f"/api/v1{example.path}",
        json=example.body or None,
        headers={"Idempotency-Key": f"{key} {name(route)}"},
    ) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else None


async def test_each_write_is_done_once(world: World) -> None:
    async with world.server() as client:
        for route in KEYED:
            first = await ask(client, route)
            assert first[0] == route.status, (name(route), first)
            again = await ask(client, route)
            if route.secret:
                assert (again[0], again[1]["detail"][:13]) == (409, "this was done")
            else:
                assert again == first, name(route)
    assert world.times == {name(one): 1 for one in KEYED}


async def test_each_write_that_a_crash_ended_is_not_done_again(world: World) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        begun.set()
        await never.wait()

    for route in MARKED:
        begun.clear()
        async with world.server(hang) as client:
            lost = asyncio.create_task(ask(client, route))
            await asyncio.wait_for(begun.wait(), 60)
            # no more comes of this server: what follows has nothing but the database
            async with world.server() as after:
                status, problem = await ask(after, route)
            lost.cancel()
            await asyncio.wait([lost])
        assert (status, problem["type"]) == (409, UNKNOWN), name(route)
        assert "not known whether it was done" in problem["detail"]
        assert "new Idempotency-Key" in problem["hint"]
    assert world.times == {name(one): 1 for one in MARKED}


async def test_what_was_refused_is_not_known_any_more(world: World) -> None:
    async def refuse() -> None:
        raise Conflict("not now")

    for route in KEYED:
        async with world.server(refuse) as client:
            assert (await ask(client, route))[0] == 409
        async with world.server() as client:
            assert (await ask(client, route))[0] == route.status, name(route)
    assert world.times == {name(one): 2 for one in KEYED}


async def test_what_the_server_failed_at_is_not_done_again(world: World) -> None:
    """Part of it may be done. What a commit did not come to is not: it is one transaction."""

    async def fail() -> None:
        raise Unavailable("a part is away")

    async with world.server(fail) as client:
        for route in KEYED:
            assert (await ask(client, route))[0] == 503
    async with world.server() as client:
        for route in KEYED:
            expected = 409 if route in MARKED else route.status
            assert (await ask(client, route))[0] == expected, name(route)


async def test_an_upload_needs_no_key(world: World) -> None:
    (upload,) = [one for one in WRITES if one.raw]
    async with world.server() as client:
        for _ in range(2):
            assert (await ask(client, upload))[0] == 200
    assert world.times == {name(upload): 2}


@pytest.mark.parametrize("error", [Unavailable("away"), StorageFull("full"), Conflict("other")])
async def test_what_is_done_is_answered_though_its_answer_cannot_be_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BootserveError
) -> None:
    def full(_answer: KeptAnswer) -> None:
        raise error

    monkeypatch.setattr(world.store, "keep", full)
    async with world.server() as client:
        for route in KEYED:
            assert (await ask(client, route))[0] == route.status, name(route)
        for route in MARKED:
            assert (await ask(client, route))[1]["type"] == UNKNOWN
    assert all(world.times[name(route)] == 1 for route in MARKED)


async def test_what_cannot_be_noted_is_not_done(world: World, tmp_path: Path) -> None:
    await world.sql.run(world.database.connect)
    with contextlib.closing(sqlite3.connect(tmp_path / "db")) as other:
        other.execute("BEGIN IMMEDIATE")
        async with world.server() as client:
            assert (await ask(client, MARKED[0]))[0] == 503
        assert not world.times
        other.rollback()
    async with world.server() as client:
        assert (await ask(client, MARKED[0]))[0] == MARKED[0].status


def test_the_routes_are_those_of_the_api() -> None:
    assert {name(one) for one in WRITES} == {key for key in TABLE if not key.startswith("GET ")}
    assert {name(one) for one in KEYED} == {name(one) for one in WRITES} - {"PUT /artifacts/{hex}"}
    assert len(MARKED) >= 20
