from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootserve.errors import NotFound
from bootserve.model.desired import Scope
from bootserve.model.hooks import HookOutcome, HookRun, HookWhen
from bootserve.model.reboot import RebootMethod
from bootserve.model.reboot_record import Reboot, RebootPhase
from bootserve.store.database import Database
from bootserve.store.reboots import KEPT_PER_NODE, RebootStore

REBOOT = Reboot("reboot-n1-1", "n1", RebootMethod.REDFISH, "root", 10.0, to_generation="web@2")
RUN = HookRun("drain", HookWhen.BEFORE, 1, 11.0)


@pytest.fixture
def store(database: Database) -> RebootStore:
    return RebootStore(database)


def test_what_was_put_on_record_is_found_as_it_was(store: RebootStore) -> None:
    assert store.begin(REBOOT).reboot == REBOOT
    store.started(REBOOT.id, RUN)
    done = replace(
        RUN, outcome=HookOutcome.FAILED, ended_at=12.5, detail="exit code 1", output="no\n"
    )
    store.finished(REBOOT.id, done)
    store.change(REBOOT.id, phase=RebootPhase.WAITING, told_at=13.0, up=None)
    shown = store.get(REBOOT.id)
    assert shown.reboot == replace(REBOOT, phase=RebootPhase.WAITING, told_at=13.0)
    assert shown.runs == (done,)


def test_beginning_again_finds_it_and_what_was_under_way_is_unknown(store: RebootStore) -> None:
    store.begin(REBOOT)
    store.started(REBOOT.id, RUN)
    again = store.begin(replace(REBOOT, by="another", asked_at=99.0))
    assert again.reboot == REBOOT
    (run,) = again.runs
    assert (run.outcome, run.detail) == (HookOutcome.UNKNOWN, "the server ended meanwhile")


def test_one_that_is_left_off_has_nothing_under_way(store: RebootStore) -> None:
    store.begin(REBOOT)
    store.started(REBOOT.id, RUN)
    assert [one.reboot.id for one in store.unfinished()] == [REBOOT.id]
    store.change(REBOOT.id, phase=RebootPhase.ENDED, ended_at=20.0, failure="cancelled by root")
    (run,) = store.get(REBOOT.id).runs
    assert run.outcome is HookOutcome.UNKNOWN
    assert store.unfinished() == []
    assert not store.get(REBOOT.id).reboot.done


def test_lists_are_of_a_node_or_a_rollout_the_newest_first(store: RebootStore) -> None:
    for number, (node, rollout) in enumerate([("n1", 0), ("n2", 3), ("n1", 3)]):
        store.begin(replace(REBOOT, id=str(number), node=node, rollout=rollout, asked_at=number))

    def ids(node: str | None = None, rollout: int | None = None) -> str:
        found = store.list(node=node, rollout=rollout)
        return "".join(one.reboot.id for one in found)

    assert (ids(), ids(node="n1"), ids(rollout=3), ids("n2", 0)) == ("210", "20", "21", "")
    assert len(store.list(limit=1)) == 1
    assert [one.reboot.id for one in store.unfinished()] == ["0"]
    with pytest.raises(NotFound, match="no reboot x"):
        store.get("x")


def test_lists_of_racks_and_roles_are_of_the_nodes_that_lie_there_now(
    store: RebootStore, fleet: Database
) -> None:
    for number, name in enumerate(["a", "b", "c", "gone", "a"]):
        store.begin(replace(REBOOT, id=str(number), node=name, asked_at=number))

    def ids(*scopes: str, **fields: Any) -> list[str]:
        within = [Scope.parse(one) for one in scopes]
        return [one.reboot.id for one in store.list(within=within, **fields)]

    assert ids("rack/r1") == ["4", "0"]
    assert ids("rack/r1", limit=1) == ["4"]
    assert ids("rack/r1", before=(4.0, "4")) == ["0"]
    assert ids("rack/r2", "role/web") == ["4", "2", "1", "0"]
    assert ids("rack/r1", node="b") == ids("rack/r3") == ids() == []


def test_attempts_by_hand_are_counted_and_old_reboots_go(store: RebootStore) -> None:
    assert store.next_attempt("n1") == 1
    for number in range(1, KEPT_PER_NODE + 4):
        one = replace(REBOOT, id=str(number), attempt=number, asked_at=number)
        store.begin(one)
        store.started(one.id, RUN)
        store.change(one.id, phase=RebootPhase.ENDED, ended_at=number)
    assert store.next_attempt("n1") == KEPT_PER_NODE + 4
    assert store.next_attempt("n2") == 1
    kept = store.list(limit=500)
    assert [one.reboot.id for one in kept[-2:]] == ["4", "3"]
    with pytest.raises(NotFound):
        store.get("1")
    assert all(len(one.runs) == 1 for one in kept)
