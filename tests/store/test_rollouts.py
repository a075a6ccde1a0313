"""Rollouts in SQL: a list of them is counted there, without their nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootserve.model.desired import Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.rollout import (
    CountedRollout,
    Member,
    MemberState,
    Policy,
    Rollout,
    RolloutState,
)
from bootserve.store.database import Database
from bootserve.store.rollouts import RolloutStore


def rollout(*members: Member, state: RolloutState = RolloutState.RUNNING) -> Rollout:
    return Rollout(
        number=0,
        scope=Scope.parse("site"),
        generation=GenerationRef("web", 2),
        root="r",
        stages=(1, 3),
        policy=Policy(),
        created_at=1.0,
        created_by="root",
        state=state,
        members={one.node: one for one in members},
    )


WAITING, DONE, FAILED = MemberState.WAITING, MemberState.DONE, MemberState.FAILED


@pytest.fixture
def store(database: Database) -> RolloutStore:
    return RolloutStore(database)


def test_a_list_is_counted(store: RolloutStore) -> None:
    first = store.create(rollout(Member("a", 0, DONE), Member("b", 1), Member("c", 1, pinned=True)))
    second = store.create(rollout(Member("a", 0, FAILED), Member("d", 1)))
    listed = store.list()
    assert [one.rollout.number for one in listed] == [2, 1]
    assert [one.rollout for one in listed] == [replace(one, members={}) for one in (second, first)]
    assert listed[1].counts == {(0, DONE, False): 1, (1, WAITING, False): 1, (1, WAITING, True): 1}
    assert [one.counts for one in listed] == [
        CountedRollout.of(store.load(number)).counts for number in (2, 1)
    ]
    assert [one.rollout.number for one in store.list(before=2)] == [1]


@pytest.mark.parametrize("state", list(RolloutState))
@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("member", [WAITING, FAILED, MemberState.REBOOTING])
def test_what_is_counted_holds_its_nodes_as_the_whole_does(
    state: RolloutState, pinned: bool, member: MemberState
) -> None:
    one = rollout(Member("a", 0, DONE), Member("b", 1, member, pinned=pinned), state=state)
    assert CountedRollout.of(one).open == one.open


def test_those_with_some_nodes(store: RolloutStore) -> None:
    many = [f"n{i:04}" for i in range(1200)]
    for member in ("n0001", "n1100", "other"):
        store.create(rollout(Member(member, 0)))
    assert store.with_nodes([1, 2, 3], many) == {1, 2}
    assert store.with_nodes([2, 3], ["n1100"]) == {2}
    assert store.with_nodes([1, 2], []) == set()
