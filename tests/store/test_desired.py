from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from bootserve.errors import Conflict, InvalidInput, NotFound
from bootserve.model.desired import (
    BootFrom,
    DesiredState,
    Node,
    Pin,
    Rack,
    Revision,
    Role,
    Scope,
    ScopeKind,
)
from bootserve.model.generation import GenerationRef
from bootserve.model.names import Arch
from bootserve.model.shape import ShapeSetting
from bootserve.store import tables
from bootserve.store.database import Database, sqlite_url
from bootserve.store.desired import DesiredStore

NAMES = ("a", "b", "c")
MACS = tuple(f"52:54:00:00:00:0{n}" for n in range(6))
TEMPORAL = (tables.node, tables.node_mac, tables.role, tables.rack, tables.pin)

words = st.sampled_from(["", "x", "y z", 'quote"\\', "ü"])
scopes = st.one_of(
    st.just(Scope(ScopeKind.SITE)),
    st.builds(
        Scope,
        st.sampled_from([ScopeKind.NODE, ScopeKind.RACK, ScopeKind.ROLE]),
        st.sampled_from(NAMES),
    ),
)
pins = st.builds(
    Pin, scopes, st.builds(GenerationRef, st.sampled_from(("web", "ceph")), st.integers(1, 3))
)
roles = st.builds(Role, st.sampled_from(NAMES), words, words)
racks = st.builds(Rack, st.sampled_from(NAMES), words)


@st.composite
def states(draw: st.DrawFn) -> DesiredState:
    owners: dict[str, list[str]] = {}
    for mac in draw(st.permutations(MACS)):
        owners.setdefault(draw(st.sampled_from(("", *NAMES))), []).append(mac)
    nodes = [
        Node(
            name,
            tuple(owners.get(name, ())),
            rack=draw(words),
            role=draw(words),
            arch=draw(st.sampled_from(Arch)),
            image=draw(words),
            kernel_args=draw(words),
            boot=draw(st.sampled_from(BootFrom)),
            nbp=draw(words),
            labels=tuple(draw(st.lists(st.tuples(words, words), max_size=2))),
            shape=draw(st.sampled_from(ShapeSetting)),
        )
        for name in draw(st.sets(st.sampled_from(NAMES)))
    ]
    return DesiredState(
        nodes={node.name: node for node in nodes},
        roles={role.name: role for role in draw(st.lists(roles, max_size=3))},
        racks={rack.name: rack for rack in draw(st.lists(racks, max_size=3))},
        pins={pin.key: pin for pin in draw(st.lists(pins, max_size=4))},
    )


@pytest.fixture
def store(database: Database) -> DesiredStore:
    return DesiredStore(database)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DesiredStore]:
    database = Database.open(sqlite_url(tmp_path_factory.mktemp("desired") / "db.sqlite"))
    yield DesiredStore(database)
    database.close()


def commit(store: DesiredStore, new: DesiredState, old: DesiredState | None = None) -> Revision:
    revision, current = store.load()
    return store.commit(
        revision.number, new, old=old or current, author="ada", message="why", at=5.5
    )


def row_counts(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in TEMPORAL
        }


@settings(max_examples=60, deadline=None)
@given(st.lists(states(), min_size=1, max_size=6))
def test_every_revision_loads_back_as_it_was_committed(
    shared: DesiredStore, history: list[DesiredState]
) -> None:
    first, current = shared.load()
    for state in history:
        commit(shared, state, current)
        current = state
    for n, state in enumerate(history, first.number + 1):
        revision, loaded = shared.load(n)
        assert loaded == state
        assert revision == Revision(n, 5.5, "ada", "why")
    assert shared.load() == (revision, loaded)
    assert shared.latest() == revision


def test_a_new_database_is_at_revision_0(store: DesiredStore) -> None:
    revision, state = store.load()
    assert (revision.number, revision.author, revision.message) == (0, "bootserve", "initial")
    assert abs(revision.at - time.time()) < 60
    assert state == DesiredState()


def test_a_state_that_is_the_old_one_is_a_revision_without_rows(
    database: Database, store: DesiredStore
) -> None:
    commit(store, big_state(3))
    before = row_counts(database)
    assert commit(store, big_state(3)).number == 2
    assert row_counts(database) == before


def big_state(count: int) -> DesiredState:
    names = [f"n{i:05}" for i in range(count)]
    nodes = {
        name: Node(
            name,
            tuple(f"52:54:0{nic}:{i >> 16:02x}:{i >> 8 & 255:02x}:{i & 255:02x}" for nic in (0, 1)),
            rack=f"r{i // 40}",
            role="compute",
        )
        for i, name in enumerate(names)
    }
    return DesiredState(nodes, {"compute": Role("compute", "web")})


def with_pin(state: DesiredState, number: int) -> DesiredState:
    pin = Pin(Scope(ScopeKind.RACK, "r1"), GenerationRef("web", number))
    return replace(state, pins={**state.pins, pin.key: pin})


def test_a_changed_pin_writes_one_row(database: Database, store: DesiredStore) -> None:
    state = with_pin(big_state(50), 1)
    commit(store, state)
    before = row_counts(database)
    commit(store, with_pin(state, 2))
    assert row_counts(database) == before | {"pin": before["pin"] + 1}


def test_a_moved_mac_leaves_the_nodes_rows_alone(database: Database, store: DesiredStore) -> None:
    state = big_state(2)
    commit(store, state)
    before = row_counts(database)
    first, second = state.nodes.values()
    nodes = {
        first.name: replace(first, macs=first.macs[:1]),
        second.name: replace(second, macs=(*second.macs, first.macs[1])),
    }
    commit(store, replace(state, nodes=nodes))
    assert row_counts(database) == before | {"node_mac": before["node_mac"] + 1}
    assert store.load()[1].nodes == nodes


def test_ten_thousand_nodes(store: DesiredStore) -> None:
    state = big_state(10_000)
    commit(store, state)
    started = time.process_time()
    revision, loaded = store.load()
    assert time.process_time() - started < 1.0
    assert loaded == state
    started = time.process_time()
    store.commit(revision.number, with_pin(loaded, 1), old=loaded, author="a", message="m", at=1.0)
    assert time.process_time() - started < 0.1


def test_who_comes_second_is_told_who_was_first(store: DesiredStore) -> None:
    old = DesiredState()
    store.commit(0, with_pin(old, 1), old=old, author="ada", message="pin it", at=1.0)
    with pytest.raises(Conflict, match="revision 1 was committed meanwhile by ada: 'pin it'"):
        store.commit(0, with_pin(old, 2), old=old, author="bob", message="mine", at=2.0)
    for base in (-1, 2, 7):
        with pytest.raises(Conflict):
            store.commit(base, old, old=old, author="bob", message="mine", at=2.0)
    assert store.load()[1] == with_pin(old, 1)


def test_an_old_state_that_is_not_the_stored_one_writes_nothing(store: DesiredStore) -> None:
    commit(store, with_pin(DesiredState(), 1))
    wrong = big_state(1)
    with pytest.raises(Conflict, match="not the stored one"):
        store.commit(1, DesiredState(), old=wrong, author="a", message="m", at=1.0)
    revision, state = store.load()
    assert (revision.number, state) == (1, with_pin(DesiredState(), 1))


def test_of_many_writers_one_wins_each_revision(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "db.sqlite")
    Database.open(url).close()
    won: list[tuple[int, str]] = []
    failed: list[BaseException] = []

    def write(name: str) -> None:
        database = Database.open(url)
        store = DesiredStore(database)
        try:
            for _ in range(15):
                revision, old = store.load()
                rack = Rack(name, str(revision.number))
                new = replace(old, racks={**old.racks, name: rack})
                try:
                    done = store.commit(
                        revision.number, new, old=old, author=name, message="m", at=1.0
                    )
                except Conflict:
                    continue
                won.append((done.number, name))
        except BaseException as error:
            failed.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    database = Database.open(url)
    store = DesiredStore(database)
    stored = [(r.number, r.author) for r in reversed(store.revisions(limit=100))]
    assert stored == [(0, "bootserve"), *sorted(won)]
    assert [number for number, _ in stored] == list(range(len(won) + 1))
    for number, name in won:
        assert store.load(number)[1].racks[name] == Rack(name, str(number - 1))
    database.close()


def test_one_mac_on_two_nodes_is_refused(store: DesiredStore) -> None:
    mac = MACS[0]
    nodes = {name: Node(name, (mac,)) for name in ("a", "b")}
    with pytest.raises(InvalidInput, match="contradicts itself"):
        commit(store, DesiredState(nodes))
    assert store.load()[1] == DesiredState()


def test_revisions_come_newest_first_and_in_pages(store: DesiredStore) -> None:
    for n in range(1, 6):
        commit(store, with_pin(DesiredState(), n))
    assert [r.number for r in store.revisions()] == [5, 4, 3, 2, 1, 0]
    assert [r.number for r in store.revisions(limit=2)] == [5, 4]
    assert [r.number for r in store.revisions(limit=2, before=4)] == [3, 2]
    assert list(store.revisions(before=0)) == []


def test_a_revision_that_does_not_exist(store: DesiredStore) -> None:
    for number in (-1, 1):
        with pytest.raises(NotFound, match=f"no revision {number}"):
            store.load(number)
