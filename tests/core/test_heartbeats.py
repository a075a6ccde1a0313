"""The book of heartbeats, and how often they are to come."""

from __future__ import annotations

import pytest

from bootserve.core.heartbeats import LONGEST_INTERVAL, HeartbeatBook, Running, Wishes, stretch
from bootserve.model.drift import DriftEntry, DriftKind, Heartbeat
from bootserve.model.generation import GenerationRef

ENTRY = DriftEntry(DriftKind.WRITTEN, "/etc/x")


def running(node: str = "n1", boot: str = "b1", at: float = 100.0) -> Running:
    ref = GenerationRef("web", 1)
    return Running(node, boot, ref, "d" * 64, "r" * 64, "", up_since=at, last_seen=at)


def said(**fields: object) -> Heartbeat:
    return Heartbeat("web@1", "r" * 64, 5.0, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("base", "nodes", "limit", "seconds"),
    [
        (60, 0, 200, 60),
        (60, 10_000, 200, 60),
        (60, 12_001, 200, 61),
        (60, 100_000, 200, 500),
        (60, 10_000_000, 200, LONGEST_INTERVAL),
        (1, 2, 0.5, 4),
    ],
)
def test_stretch(base: float, nodes: int, limit: float, seconds: float) -> None:
    assert stretch(base, nodes, limit) == seconds


def test_a_node_runs_the_boot_that_it_spoke_of_last() -> None:
    book = HeartbeatBook()
    book.put(running(boot="b1"))
    book.put(running(boot="b2"))
    assert book.at_boot("b1") is None
    found = book.of("n1")
    assert found is not None
    assert found is book.at_boot("b2")
    assert len(book) == 1
    book.restore([running(boot="b0"), running("n2", "b3")])
    assert {one.boot for one in book} == {"b2", "b3"}
    book.forget_all_but({"n2"})
    assert [one.node for one in book] == ["n2"]
    assert book.at_boot("b2") is None


def test_drift_is_asked_for_once_and_its_changes_are_told() -> None:
    book = HeartbeatBook()
    one = running()
    book.put(one)
    assert not book.heard(one, said(clock=103.5), 60, 101.0)
    assert (one.offset, one.last_seen, one.agent) == (2.5, 101.0, True)
    assert book.heard(one, said(drift="a" * 64), 60, 102.0)
    change = book.altered(one, "a" * 64, 1, (ENTRY,), 102.0)
    assert change is not None
    assert (change.state, change.count, change.entries) == ("altered", 1, (ENTRY,))
    assert not book.heard(one, said(drift="a" * 64), 60, 103.0)
    assert book.altered(one, "b" * 64, 2, (ENTRY, ENTRY), 104.0) is not None
    assert one.drift_since == 102.0
    assert book.heard(one, said(), 60, 105.0)
    change = book.altered(one, "", 0, (), 105.0)
    assert change is not None
    assert change.state == "unaltered"


def test_a_node_that_changes_for_ever_fills_no_history() -> None:
    one = running()
    told = [HeartbeatBook.altered(one, f"{n:064x}", 1, (ENTRY,), n) for n in range(600)]
    assert sum(change is not None for change in told) == 500
    assert one.known == f"{599:064x}"


def test_a_wish_ends_with_the_boot_it_was_for() -> None:
    wishes = Wishes()
    wishes.ask("n1", "b1", "rollout-3")
    assert wishes.wanted("n2", "b1") is None
    assert wishes.wanted("n1", "b1") == wishes.wanted("n1", "b1") == "rollout-3"
    assert wishes.wanted("n1", "b2") is None
    assert wishes.wanted("n1", "b1") is None
    wishes.ask("n1", "b2", "rollout-4")
    wishes.withdraw("n1")
    wishes.withdraw("n1")
    assert wishes.wanted("n1", "b2") is None
