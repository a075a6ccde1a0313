"""What a list of nodes costs the loop that serves boots: as much as the page shows."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp.test_utils import make_mocked_request

from bootserve.core.drift import Watch
from bootserve.core.heartbeats import HeartbeatBook, Running
from bootserve.model.access import AccessRole, Binding, Subject
from bootserve.model.desired import DesiredState, Node, Scope
from bootserve.model.generation import GenerationRef
from bootserve.servers.admin import drift, nodes
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, Empty, Query
from bootserve.servers.admin.schemas import NodeQuery
from bootserve.servers.admin.schemas_drift import DriftQuery
from tests.support.states import snapshot

NAMES = [f"r{i // 40:02}n{i % 40:02}" for i in range(2000)]


class Watched(dict[str, Node]):
    """Nodes by name that count how often one is looked at."""

    looks = 0

    def __getitem__(self, name: str) -> Node:
        self.looks += 1
        return super().__getitem__(name)


@pytest.fixture
def site() -> Watched:
    made = [Node(name, (), rack=name[:3], role="compute") for name in reversed(NAMES)]
    return Watched({one.name: one for one in made})


def ask(site: Watched, path: str, query: Query, scope: str = "site") -> Any:
    """Return the answer of GET ``path`` to a viewer of ``scope``; every tenth node has reported."""
    book = HeartbeatBook()
    for name in NAMES[::10]:
        web = GenerationRef("web", 1)
        book.put(Running(name, f"b-{name}", web, "d", "r", "t", 1.0, 2.0))
    current = SimpleNamespace(snapshot=snapshot(DesiredState(nodes=site)))
    sight = SimpleNamespace(book=book, watch=lambda: Watch(0.0))
    plane = cast(AdminPlane, SimpleNamespace(current=current, drift=sight))
    routes = [*nodes.routes(plane), *drift.routes(plane)]
    (route,) = (one for one in routes if (one.method, one.path) == ("GET", path))
    who = Subject("token:t", (Binding(AccessRole.VIEWER, Scope.parse(scope)),))
    site.looks = 0
    call = Call(who, {}, query, Empty(), make_mocked_request("GET", path))

    async def answer() -> Any:
        return await route.handler(call)

    return asyncio.run(answer())


def test_a_page_of_nodes_looks_at_no_others(site: Watched) -> None:
    first = ask(site, "/nodes", NodeQuery(limit=50))
    assert [one.name for one in first.nodes] == NAMES[:50]
    assert site.looks == 51
    second = ask(site, "/nodes", NodeQuery(limit=50, cursor=first.next))
    assert [one.name for one in second.nodes] == NAMES[50:100]
    assert site.looks == 51


def test_nodes_by_the_beginning_of_their_names(site: Watched) -> None:
    found = ask(site, "/nodes", NodeQuery(prefix="r07"))
    assert [one.name for one in found.nodes] == [name for name in NAMES if name.startswith("r07")]
    assert site.looks == 40
    assert ask(site, "/nodes", NodeQuery(prefix="s")).nodes == []
    assert len(ask(site, "/nodes", NodeQuery(prefix="r", limit=5000)).nodes) == 2000


def test_a_viewer_of_a_rack_sees_its_nodes(site: Watched) -> None:
    found = ask(site, "/nodes", NodeQuery(), "rack/r03")
    assert {one.rack for one in found.nodes} == {"r03"}
    assert (len(found.nodes), found.next) == (40, "")


def test_drift_counts_all_and_shows_a_page(site: Watched) -> None:
    seen, cursor = list[str](), ""
    while True:
        found = ask(site, "/drift", DriftQuery(limit=30, cursor=cursor))
        assert (found.reporting, found.never_reported) == (200, 1800)
        seen += [one.node for one in found.nodes]
        cursor = found.next
        if not cursor:
            break
    assert seen == NAMES[::10]
    whole = ask(site, "/drift", DriftQuery(limit=5000, all=True))
    assert [one.node for one in whole.nodes] == NAMES
    rack = ask(site, "/drift", DriftQuery(rack="r03"))
    assert (rack.reporting, rack.never_reported, len(rack.nodes)) == (4, 36, 4)
