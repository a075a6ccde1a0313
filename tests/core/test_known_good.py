"""Who is given its last known good generation, and above all who is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootserve.core.known_good import KnownGood, KnownGoodLimits
from bootserve.core.snapshot import Snapshot
from bootserve.model.boot import Boot
from bootserve.model.degraded import Degraded
from bootserve.model.generation import GenerationRef
from bootserve.model.rollout import Sighting
from tests.support.states import generation, node, snapshot, state

OLD, NEW = GenerationRef("web", 1), GenerationRef("web", 2)
LIMITS = KnownGoodLimits(tries=3, per_rack=2)
HEARTBEATS = 50.0
NAMES = [f"n{number}" for number in range(5)]


def site(**old: Any) -> Snapshot:
    """``old`` is what became of web@1."""
    nodes = [
        node(name, f"52:54:00:00:00:{place:02x}", rack="r1", role="compute")
        for place, name in enumerate(NAMES)
    ]
    known = [generation("web@1", **old), generation("web@2")]
    return snapshot(state(*nodes, pins="site web@2"), *known)


def make(limits: KnownGoodLimits = LIMITS, *, watched: bool = True) -> KnownGood:
    made = KnownGood(limits, lambda _node: OLD, lambda _node: HEARTBEATS)
    made.watch(NAMES if watched else [])
    return made


def boot(name: str, number: int, at: float, ref: GenerationRef = NEW) -> Boot:
    return Boot(f"{number:032x}", name, "52:54:00:00:00:00", ref, "", 1, at, "10.0.0.9")


def fails(
    guard: KnownGood,
    name: str,
    times: int = 3,
    *,
    first: int = 1,
    at: float = 500.0,
    heard: bool = True,
) -> None:
    """Let ``name`` start a second apart and come to nothing; before each, another was ``heard``."""
    for number in range(times):
        if heard:
            guard.spoke("other", f"{7:032x}", OLD, at + number - 0.5)
        one = boot(name, first + number, at + number)
        guard.minted(one)
        guard.rooted(name, one.id)


def given(guard: KnownGood, name: str, now: float, current: Snapshot | None = None) -> str:
    current = current or site()
    plan, mark, new = guard.plan(current.plans[name], current.generations, lambda _name: "r1", now)
    if mark is not None and new:
        guard.degrade(replace(mark, boot=f"{99:032x}"))
    assert plan.resolution.generation is not None
    return str(plan.resolution.generation.ref)


def test_a_node_that_does_not_come_up_gets_what_it_last_came_up_with() -> None:
    guard = make()
    fails(guard, "n0", 2)
    assert "n0" not in guard.suspects
    fails(guard, "n0", 1, first=3, at=502.0)
    assert "n0" in guard.suspects
    guard.spoke("n1", boot("n1", 7, 400.0).id, OLD, 510.0)
    assert given(guard, "n0", 520.0) == "web@1"
    assert guard.degraded["n0"].reason == "it was given web@2 3 times and did not report up"
    assert given(guard, "n0", 530.0) == "web@1"
    assert given(guard, "n1", 530.0) == "web@2"


@pytest.mark.parametrize(
    "why",
    ["nobody else speaks", "others spoke before", "no root", "not watched", "it spoke just now"],
)
def test_what_moves_no_node(why: str) -> None:
    guard = make(watched=why != "not watched")
    if why == "it spoke just now":
        guard.spoke("n0", f"{0:032x}", OLD, 499.0)
    fails(guard, "n0", heard=why != "nobody else speaks")
    if why == "no root":
        guard.minted(boot("n0", 4, 504.0))
    if why not in ("nobody else speaks", "others spoke before"):
        guard.spoke("n1", f"{7:032x}", OLD, 510.0)
    assert given(guard, "n0", 520.0) == "web@2"


def test_what_a_broken_report_path_made_of_nodes_is_forgotten_once_it_is_mended() -> None:
    """No report got through while they started: the first that does speaks for none of it."""
    guard = make()
    for place, name in enumerate(NAMES[:4]):
        fails(guard, name, 5, first=10 * place + 10, heard=False)
    guard.spoke("n4", f"{7:032x}", OLD, 510.0)
    assert [given(guard, name, 520.0) for name in NAMES[:4]] == ["web@2"] * 4
    fails(guard, "n0", 1, first=50, at=521.0)  # its last before the path was mended counts
    guard.spoke("n4", f"{7:032x}", OLD, 522.0)
    assert given(guard, "n0", 523.0) == "web@2"
    fails(guard, "n0", 1, first=51, at=524.0)
    assert given(guard, "n0", 525.0) == "web@2"
    guard.spoke("n4", f"{7:032x}", OLD, 526.0)
    assert given(guard, "n0", 527.0) == "web@1"


def test_what_is_recalled_does_not_count_by_words_that_came_later() -> None:
    """The database comes back while the server has long been listening."""
    guard = make()
    guard.spoke("n1", f"{7:032x}", OLD, 505.0)
    fails(guard, "n0", heard=False)
    assert given(guard, "n0", 620.0) == "web@2"


def test_scripts_fetched_in_the_name_of_a_node_that_speaks_are_forgotten() -> None:
    guard = make()
    guard.spoke("n0", f"{1:032x}", OLD, 10.0)
    fails(guard, "n0", first=5)
    guard.spoke("n0", f"{1:032x}", OLD, 505.0)  # by the boot that it runs
    guard.spoke("n1", f"{7:032x}", OLD, 510.0)
    assert "n0" not in guard.suspects
    assert given(guard, "n0", 900.0) == "web@2"


def test_a_restart_gives_a_node_time_to_say_that_it_was_forged() -> None:
    """Boots that its words had cleared are counted again from the database, its words are not."""
    guard = KnownGood(LIMITS, lambda _node: OLD, lambda _node: HEARTBEATS, since=600.0)
    guard.watch(NAMES)
    fails(guard, "n0", first=5)
    guard.spoke("n1", f"{7:032x}", OLD, 601.0)
    assert given(guard, "n0", 699.0) == "web@2"
    assert given(guard, "n0", 700.0) == "web@1"
    guard.spoke("n0", f"{1:032x}", OLD, 701.0)
    assert given(guard, "n0", 702.0) == "web@2"


def test_a_mark_that_a_forger_brought_about_is_taken_off_by_the_node_itself() -> None:
    guard = make()
    fails(guard, "n0", first=5)
    guard.spoke("n1", f"{7:032x}", OLD, 510.0)
    assert given(guard, "n0", 520.0) == "web@1"
    released = guard.spoke("n0", f"{1:032x}", OLD, 530.0)
    assert isinstance(released, Degraded)
    assert not guard.degraded
    assert given(guard, "n0", 900.0) == "web@2"


def test_a_rack_has_no_more_than_its_share() -> None:
    guard = make()
    for place, name in enumerate(NAMES[:4]):
        fails(guard, name, first=10 * place + 10)
    guard.spoke("n4", f"{7:032x}", OLD, 510.0)
    assert [given(guard, name, 520.0) for name in NAMES[:4]] == ["web@1", "web@1", "web@2", "web@2"]


@pytest.mark.parametrize("old", [{"removed": True}, {"revoked": "it eats disks"}])
def test_a_generation_that_was_removed_or_revoked_is_given_to_nobody(old: dict[str, Any]) -> None:
    guard = make()
    fails(guard, "n0")
    guard.spoke("n1", f"{7:032x}", OLD, 510.0)
    assert given(guard, "n0", 520.0, site(**old)) == "web@2"


@pytest.mark.parametrize(
    ("old", "why"),
    [
        ({"revoked": "it eats disks"}, "it was given web@1, which was revoked (it eats disks)"),
        ({"removed": True}, "it was given web@1, whose artifacts were removed"),
    ],
)
def test_a_mark_ends_with_what_it_gives(old: dict[str, Any], why: str) -> None:
    guard = make()
    fails(guard, "n0")
    guard.spoke("n1", f"{7:032x}", OLD, 510.0)
    assert given(guard, "n0", 520.0) == "web@1"
    ((mark, barred),) = guard.resolved(lambda _name: NEW, site(**old).generations)
    assert (mark.node, barred) == ("n0", why)
    assert (guard.degraded, guard.suspects) == ({}, set())


def test_who_has_a_generation_when_it_is_revoked_is_not_given_it_again() -> None:
    guard = make()
    fails(guard, "n0")
    guard.spoke("n1", f"{7:032x}", OLD, 510.0)
    assert given(guard, "n0", 520.0) == "web@1"
    assert given(guard, "n0", 530.0, site(revoked="it eats disks")) == "web@2"


def test_a_node_that_is_to_speak_seldom_is_quiet_for_longer() -> None:
    """Between two of its heartbeats anybody may fetch in its name: that moves it nowhere."""
    seconds = {"n0": 250.0, "n1": 60.0}
    guard = KnownGood(LIMITS, lambda _node: OLD, seconds.__getitem__)
    guard.watch(NAMES)
    for name in seconds:
        guard.spoke(name, f"{0:032x}", OLD, 400.0)
        fails(guard, name)
    guard.spoke("other", f"{7:032x}", OLD, 510.0)
    for now, expected in ((640.0, ["web@2", "web@1"]), (901.0, ["web@1", "web@1"])):
        assert [given(guard, name, now) for name in seconds] == expected


def test_a_script_is_told_of_until_the_node_speaks() -> None:
    guard = make()
    ran = boot("n0", 1, 400.0)
    seen = Sighting(ran.id, 400.0, NEW, up_at=420.0)
    guard.minted(ran)
    guard.spoke("n0", ran.id, NEW, 420.0)
    assert guard.marked("n0", seen, 430.0) == seen
    guard.minted(boot("n0", 2, 440.0))
    told = guard.marked("n0", seen, 450.0)
    assert told is not None
    assert (told.newer_at, told.degraded) == (440.0, "")
    guard.spoke("n0", ran.id, NEW, 460.0)  # it was fetched by somebody else
    assert guard.marked("n0", seen, 470.0) == seen


def test_it_ends_when_the_pin_does_or_an_admin_says_so() -> None:
    guard = make()
    fails(guard, "n0")
    guard.spoke("n1", f"{7:032x}", OLD, 510.0)
    assert given(guard, "n0", 520.0) == "web@1"
    known = site().generations
    assert guard.resolved(lambda _name: NEW, known) == []
    ((mark, barred),) = guard.resolved(lambda _name: OLD, known)
    assert (mark.node, barred, guard.degraded, guard.suspects) == ("n0", "", {}, set())
    assert guard.release("n0") is None


def test_everywhere_is_a_setting() -> None:
    guard = make(replace(LIMITS, everywhere=True), watched=False)
    fails(guard, "n0")
    guard.spoke("n1", f"{7:032x}", OLD, 510.0)
    assert given(guard, "n0", 520.0) == "web@1"
