"""What is asked of a rollout heeds the revision that whoever asks has seen, to the last moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from aiohttp.test_utils import make_mocked_request

from bootserve.core.scripts import ScriptRenderer
from bootserve.core.snapshot import Snapshot, build_snapshot
from bootserve.core.transactions import add_node, set_role
from bootserve.errors import PreconditionFailed
from bootserve.model.access import AccessRole, Binding, Subject
from bootserve.model.desired import Role, Scope
from bootserve.model.reboot import Rebooter
from bootserve.model.rollout import RolloutState
from bootserve.servers.admin import rollouts
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, Empty, NoQuery, Request
from bootserve.servers.admin.schemas_rollout import AbortBody, RolloutBody, RolloutQuery
from bootserve.servers.committer import Committer
from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.servers.rollouts.desk import RolloutDesk
from bootserve.store.database import Database, sqlite_url
from bootserve.store.desired import DesiredStore
from bootserve.store.generations import GenerationStore
from bootserve.store.nbps import NbpStore
from bootserve.store.rollouts import RolloutStore
from tests.support.states import manifest, node

ROOT = Subject("root", (Binding(AccessRole.ADMIN, Scope.parse("site")),))
BEGIN = RolloutBody(scope="site", generation="web@1", stages="100%")


class World:
    """The desk and the routes of rollouts, on a database with the node n1 and web@1."""

    def __init__(self, folder: Path) -> None:
        database = Database.open(sqlite_url(folder / "bootserve.sqlite"))
        self.sql = DatabaseThread()
        desired, generations = DesiredStore(database), GenerationStore(database)
        revision, state = desired.load()
        first: Snapshot = build_snapshot(revision, state, {}, database.site_id)
        self.current = Current(first, cast(ScriptRenderer, None))
        self.committer = Committer(
            self.current, desired, generations, NbpStore(database), self.sql, lambda _: None
        )
        self.desk = RolloutDesk(
            RolloutStore(database),
            self.sql,
            self.committer,
            self.current,
            lambda _: {},
            _nothing,
            cast(Rebooter, None),
            structlog.get_logger(),
        )

    async def begin(self) -> None:
        await self.committer.register(manifest(), "root")
        await self.commit(set_role(Role("compute", "web")))
        await self.commit(add_node(node(role="compute")))

    async def commit(self, change: Any) -> None:
        await self.committer.commit(change, author="root", message="x")

    async def ask(self, verb: str, body: Request, base: int | None) -> Any:
        """Return what the handler answers; what is before it has seen ``base`` and let it pass."""
        path = f"/rollouts/{{number}}/{verb}" if verb else "/rollouts"
        raw = make_mocked_request("POST", "/")
        call = Call(ROOT, {"number": "1"}, NoQuery(), body, raw, base=base)
        return await self._handler("POST", path)(call)

    async def listed(self, scope: str) -> list[int]:
        """Return the numbers of the rollouts that a viewer of ``scope`` is shown."""
        who = Subject("x", (Binding(AccessRole.VIEWER, Scope.parse(scope)),))
        call = Call(who, {}, RolloutQuery(), Empty(), make_mocked_request("GET", "/"))
        answer: Any = await self._handler("GET", "/rollouts")(call)
        return [one.number for one in answer.rollouts]

    def _handler(self, method: str, path: str) -> Callable[[Call[Any, Any]], Awaitable[Any]]:
        plane = cast(AdminPlane, SimpleNamespace(current=self.current, rollouts=self.desk))
        found = rollouts.routes(plane)
        (route,) = (one for one in found if (one.method, one.path) == (method, path))
        return route.handler


async def _nothing(_: object) -> None:
    pass


def run(folder: Path, play: Callable[[World], Awaitable[None]]) -> None:
    world = World(folder)

    async def whole() -> None:
        await world.begin()
        await play(world)

    try:
        asyncio.run(whole())
    finally:
        world.sql.close()


@pytest.mark.parametrize("verb", ["", "pause", "resume", "retry", "abort"])
def test_a_commit_between_check_and_order_is_seen(tmp_path: Path, verb: str) -> None:
    body = {"": BEGIN, "abort": AbortBody()}.get(verb, Empty())

    async def play(world: World) -> None:
        if verb:
            await world.ask("", BEGIN, None)
        seen = world.current.snapshot.revision.number
        await world.commit(set_role(Role("other", "web")))
        with pytest.raises(PreconditionFailed) as caught:
            await world.ask(verb, body, seen)
        assert caught.value.members["revision"] == seen + 1
        running = [one.state for one in world.desk.open()]
        assert running == ([RolloutState.RUNNING] if verb else [])

    run(tmp_path, play)


def test_orders_that_name_the_current_revision_are_followed(tmp_path: Path) -> None:
    async def play(world: World) -> None:
        number = world.current.snapshot.revision.number
        assert (await world.ask("", BEGIN, number)).state == "running"
        assert (await world.ask("pause", Empty(), number)).state == "paused"
        assert (await world.ask("resume", Empty(), number)).state == "running"
        assert (await world.ask("retry", Empty(), number)).state == "running"
        assert (await world.ask("abort", AbortBody(), number)).state == "aborted"

    run(tmp_path, play)


def test_a_viewer_is_shown_rollouts_of_nodes_in_scope(tmp_path: Path) -> None:
    async def play(world: World) -> None:
        await world.ask("", BEGIN, None)
        assert await world.listed("site") == await world.listed("role/compute") == [1]
        assert await world.listed("role/other") == await world.listed("rack/r1") == []

    run(tmp_path, play)
