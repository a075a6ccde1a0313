"""Lists in pages: a cursor that is the same under writes, and that the command line follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vm_harness.server import BootServer

from bootserve.errors import InvalidInput
from bootserve.servers.admin.paging import PageQuery, cursor_of, named_page, page, read_cursor
from tests.cli.runner import Cli
from tests.support.api import Admin, Problem

NAMES = [f"n{i:02}" for i in range(25)]


@given(st.sets(st.text(max_size=4)), st.integers(1, 5), st.data())
def test_pages_are_the_whole_list_while_others_write(
    names: set[str], limit: int, data: st.DataObject
) -> None:
    stays, seen, cursor = set(names), list[str](), ""
    while True:
        shown, cursor = page(names, str, PageQuery(limit=limit, cursor=cursor))
        seen += shown
        if not cursor:
            break
        gone = data.draw(st.sampled_from(sorted(names)))
        names = (names - {gone}) | {data.draw(st.text(max_size=4))}
        stays &= names
    assert seen == sorted(set(seen))
    assert stays <= set(seen)


@given(st.sets(st.text(max_size=3)), st.sets(st.text(max_size=1)), st.integers(1, 5))
def test_pages_of_names_are_those_of_the_whole_list(
    names: set[str], left_out: set[str], limit: int
) -> None:
    def look(name: str) -> str | None:
        return None if name[:1] in left_out else name

    shown = [name for name in names if look(name) is not None]
    cursor = ""
    while True:
        query = PageQuery(limit=limit, cursor=cursor)
        found = asyncio.run(named_page(sorted(names), look, query))
        assert found == page(shown, str, query)
        cursor = found[1]
        if not cursor:
            break


def test_a_page_costs_what_it_shows_and_leaves_others_their_turn() -> None:
    names = [f"n{i:06}" for i in range(100_000)]
    looked, turns = list[str](), 0

    def look(name: str) -> str:
        looked.append(name)
        return name

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def pages() -> tuple[int, int]:
        beside = asyncio.create_task(others())
        query = PageQuery(limit=100, cursor=cursor_of(names[50_000]))
        await named_page(names, look, query)
        few = turns
        await named_page(names, lambda _: None, PageQuery())
        beside.cancel()
        return few, turns

    few, many = asyncio.run(pages())
    assert looked == names[50_001:50_102]
    assert few <= 2
    assert many >= 400


@pytest.mark.parametrize(
    "cursor", ["x", "!!", cursor_of(3), cursor_of((1,)), "bnVsbA", "WyJhIl0", cursor_of("\ud800")]
)
def test_a_forged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        page(["a"], str, PageQuery(cursor=cursor))
    with pytest.raises(InvalidInput, match="cursor"):
        page([("a", 1)], lambda one: one, PageQuery(cursor=cursor_of((2, "b"))))
    assert read_cursor(cursor_of(("a", 1)), tuple) == ("a", 1)


@pytest.mark.parametrize("number", [1 << 63, -(1 << 64), 10**400])
def test_a_cursor_of_a_number_that_no_database_takes_is_refused(number: int) -> None:
    assert read_cursor(cursor_of(1 << 53), int) == 1 << 53
    with pytest.raises(InvalidInput, match="cursor"):
        read_cursor(cursor_of(number), int)
    with pytest.raises(InvalidInput, match="cursor"):
        read_cursor(cursor_of(("a", number)), tuple)


@pytest.fixture(scope="module")
def cli(server: BootServer) -> Cli:
    return Cli(server.state_dir)


@pytest.fixture(scope="module")
def nodes(admin: Admin) -> Callable[[], Any]:
    for i, name in enumerate(NAMES):
        admin.call("POST", "/nodes", name=name, macs=[f"52:54:00:00:09:{i:02x}"], rack=f"r{i % 4}")
    return lambda: admin.call("GET", "/nodes?limit=7")


def walk(admin: Admin, path: str, field: str) -> list[Any]:
    found: list[Any] = []
    answer = admin.call("GET", path)
    while True:
        found += answer[field]
        if not answer["next"]:
            return found
        mark = "&" if "?" in path else "?"
        answer = admin.call("GET", f"{path}{mark}cursor={answer['next']}")


def test_pages_go_in_the_order_of_the_list(admin: Admin, nodes: Callable[[], Any]) -> None:
    assert len(nodes()["nodes"]) == 7
    assert [one["name"] for one in walk(admin, "/nodes?limit=7", "nodes")] == NAMES
    assert [one["name"] for one in walk(admin, "/nodes?limit=4&prefix=n1", "nodes")] == NAMES[10:20]
    assert [one["name"] for one in walk(admin, "/racks?limit=1", "racks")] == [
        "r0",
        "r1",
        "r2",
        "r3",
    ]
    numbers = [one["number"] for one in walk(admin, "/revisions?limit=4", "revisions")]
    assert numbers == list(range(len(NAMES), -1, -1))
    assert [one["node"] for one in walk(admin, "/drift?limit=9&all=true", "nodes")] == NAMES
    for name in NAMES[:3]:
        admin.call("POST", f"/nodes/{name}/reboot", by="agent", hooks=False)
    rebooted = [one["node"] for one in walk(admin, "/reboots?limit=1", "reboots")]
    assert rebooted == NAMES[2::-1]


def test_a_cursor_of_another_list_is_refused(admin: Admin, nodes: Callable[[], Any]) -> None:
    cursor = nodes()["next"]
    with pytest.raises(Problem, match=r"query\.cursor"):
        admin.call("GET", f"/revisions?cursor={cursor}")


@pytest.mark.parametrize("path", ["/revisions", "/audit", "/rollouts", "/reboots", "/boots"])
def test_no_number_is_too_large_for_an_answer(admin: Admin, path: str) -> None:
    large = 1 << 70
    for query in (f"cursor={cursor_of(large)}", f"before={large}", f"limit={large}"):
        with pytest.raises(Problem) as caught:
            admin.call("GET", f"{path}?{query}")
        assert caught.value.status == (404 if (path, query[0]) == ("/boots", "b") else 400)


def test_the_command_line_follows_pages(cli: Cli, nodes: Callable[[], Any]) -> None:
    shown = cli.json("revisions", "--limit", "26")
    assert [one["number"] for one in shown["revisions"]] == list(range(len(NAMES), -1, -1))
    assert [one["name"] for one in cli.json("node", "list")["nodes"]] == NAMES
