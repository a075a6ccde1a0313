"""How long a node must be quiet before it is taken for down, and what a start makes of marks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import structlog

from bootserve.core.heartbeats import HeartbeatBook, Running
from bootserve.model.degraded import Degraded
from bootserve.model.drift import Heartbeat
from bootserve.model.generation import GenerationRef
from bootserve.servers.rollouts.words import NodeWords
from bootserve.service.known_good import make_known_good
from bootserve.settings import Settings
from bootserve.store.journal import Journal
from bootserve.store.records import DegradedRecord
from tests.core.test_known_good import NEW, boot, site

OLD = GenerationRef("web", 1)
QUIET = 300.0
PACE: dict[str, Any] = {"heartbeat_seconds": 60.0, "heartbeats_per_second": 1.0}


def running(number: int, book: HeartbeatBook) -> Running:
    """Return what n0, n1, … runs; it spoke long ago."""
    made = Running(f"n{number}", f"{number + 1:032x}", OLD, "d", "r", "t", 1.0, 1.0, root="r")
    book.put(made)
    return made


def chosen(journal: Journal, told: float, others: int) -> str:
    """Return what n0 gets 300 s after it spoke last, having failed three times as it seems.

    It was ``told`` to send its next heartbeat after so many seconds; ``others`` report, too.
    """
    book = HeartbeatBook()
    generations = site().generations
    words = NodeWords(book, lambda: generations)
    made = running(0, book)
    desk = make_known_good(
        Settings(**PACE), book, words, journal, structlog.get_logger(), lambda: None
    )
    guard, at = desk.known_good, time.time() + 1
    guard.watch(["n0"])
    for number in range(others):
        running(number + 1, book)
    book.heard(made, Heartbeat("web@1", "r", 1.0), told, at)
    desk.spoke(made, at)
    for number in range(3):
        guard.spoke("other", f"{7:032x}", OLD, at + 100 + number - 0.5)
        one = boot("n0", 50 + number, at + 100 + number)
        guard.minted(one)
        guard.rooted("n0", one.id)
    guard.spoke("other", f"{7:032x}", OLD, at + 200)
    plan, _, _ = guard.plan(site().plans["n0"], generations, lambda _name: "r1", at + QUIET)
    assert plan.resolution.generation is not None
    return str(plan.resolution.generation.ref)


def test_a_node_is_quiet_by_the_interval_that_it_was_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", max_bytes=1 << 20, clock=time.time)
    assert chosen(journal, told=60.0, others=0) == str(OLD)
    assert chosen(journal, told=250.0, others=0) == str(NEW)
    assert chosen(journal, told=60.0, others=250) == str(NEW)  # it would be told 251 s now
    journal.close()


def test_who_was_degraded_before_a_start_is_released_if_that_was_revoked(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", max_bytes=1 << 20, clock=time.time)
    book, revoked = HeartbeatBook(), site(revoked="it eats disks")
    words = NodeWords(book, lambda: revoked.generations)
    log = structlog.get_logger()
    desk = make_known_good(Settings(**PACE), book, words, journal, log, lambda: None)
    mark = Degraded("n0", OLD, NEW, 100.0, "it was given web@2 3 times", "b" * 32)
    desk.restore([mark], site())
    assert desk.of("n0") == mark
    desk.restore([mark], revoked)
    assert desk.of("n0") is None
    (record,) = [record for _, record in journal.replay()]
    assert isinstance(record, DegradedRecord)
    assert record.ended == "it was given web@1, which was revoked (it eats disks)"
    journal.close()
