"""What a rollout makes of times in which no server was there, and of words that do not come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootserve.core.rollout import Step, advance
from bootserve.core.rollout_nodes import Outcome, due
from bootserve.core.rollout_plan import plan_rollout
from bootserve.model.desired import DesiredState, Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.reboot import RebootMethod
from bootserve.model.rollout import MemberState, Rollout, RolloutState, Sighting
from tests.support.states import generation, node, snapshot, state

LIMIT = 900.0


NEW = GenerationRef("web", 2)
ROOT = generation("web@2").manifest.artifacts["root"].sha256
SOAK = 60.0


def booting(node_timeout: float, stage_timeout: float) -> tuple[DesiredState, Step]:
    """Return the desired state and a rollout whose one node was made to reboot at 1000."""
    desired = state(node("n1", "52:54:00:00:00:01", rack="r1", role="compute"), pins="site web@1")
    current = snapshot(desired, generation("web@1"), generation("web@2"))
    planned = plan_rollout(current, Scope.parse("site"), NEW, "100%", "1")
    rollout = planned.rollout
    step = Step(
        replace(
            rollout,
            number=1,
            policy=replace(
                rollout.policy,
                method=RebootMethod.AGENT,
                node_timeout=node_timeout,
                stage_timeout=stage_timeout,
                soak=SOAK,
            ),
        )
    )
    while step.rollout.members["n1"].state is not MemberState.BOOTING:
        parts = due(step.rollout)
        done = [Outcome(task.node, task.attempt, part, done=True) for part, task, _ in parts]
        step = advance(step.rollout, desired, {}, 1000.0, done)
        desired = step.pins.change(desired) if step.pins else desired
    return desired, step


@pytest.mark.parametrize("limits", [(LIMIT, 0.0), (0.0, LIMIT)], ids=["node", "stage"])
def test_nobody_is_late_for_a_time_in_which_no_server_listened(
    limits: tuple[float, float],
) -> None:
    desired, step = booting(*limits)
    back = 1000.0 + 10 * LIMIT
    for now in (back, back + LIMIT - 1):
        assert advance(step.rollout, desired, {}, now, since=back).empty
    late = advance(step.rollout, desired, {}, back + LIMIT, since=back)
    assert late.rollout.state is RolloutState.FAILED
    assert advance(step.rollout, desired, {}, 1000.0 + LIMIT).rollout.state is RolloutState.FAILED


def soaks(**said: Any) -> tuple[Rollout, DesiredState, Sighting]:
    """Return a rollout whose one node reported up at 1010 and soaks; ``said`` is more of it."""
    desired, step = booting(LIMIT, 0.0)
    fields = {"up_at": 1010.0, "root": ROOT, "heard_at": 1010.0, **said}
    seen = Sighting(boot="b1", minted_at=1001.0, generation=NEW, **fields)
    step = advance(step.rollout, desired, {"n1": seen}, 1010.0)
    assert step.rollout.members["n1"].state is MemberState.SOAKING
    return step.rollout, desired, seen


def became(
    rollout: Rollout, desired: DesiredState, seen: Sighting, now: float, since: float = 0.0
) -> tuple[MemberState, str]:
    """Return what becomes of the node that soaks, and why; its hooks after the reboot aside."""
    member = advance(rollout, desired, {"n1": seen}, now, since=since).rollout.members["n1"]
    ended = member.state is MemberState.AFTER
    return (member.then if ended else member.state), member.detail


STAYS, DONE = (MemberState.SOAKING, ""), (MemberState.DONE, "")


@pytest.mark.parametrize(
    ("heard_at", "end"), [(1010.0, STAYS), (1069.9, STAYS), (1070.0, DONE), (1099.0, DONE)]
)
def test_who_sends_heartbeats_is_done_with_one_after_the_soak(
    heard_at: float, end: tuple[MemberState, str]
) -> None:
    rollout, desired, seen = soaks(agent=True)
    assert became(rollout, desired, replace(seen, heard_at=heard_at), 1100.0) == end


def test_who_sends_none_is_done_when_the_time_is_over() -> None:
    rollout, desired, seen = soaks()
    assert became(rollout, desired, seen, 1069.9) == STAYS
    assert became(rollout, desired, seen, 1070.0) == DONE


@pytest.mark.parametrize("agent", [True, False])
def test_a_soak_in_which_nobody_listened_begins_again(agent: bool) -> None:
    """The server was away, or its clock was set: what it heard before tells nothing of the time."""
    rollout, desired, seen = soaks(agent=agent)
    for now, end in ((5000.0, STAYS), (5059.9, STAYS), (5060.0, DONE)):
        heard = replace(seen, heard_at=now if agent else 1010.0)
        assert became(rollout, desired, heard, now, since=5000.0) == end
    if agent:  # it died meanwhile, and is found out as soon as it could have been heard
        assert became(rollout, desired, seen, 9000.0, since=5000.0) == STAYS
        silent = replace(seen, silent=True)
        assert became(rollout, desired, silent, 9000.0, since=5000.0) == (
            MemberState.FAILED,
            "its heartbeats stopped while it soaked",
        )


def test_who_was_given_another_script_while_it_soaked_started_again() -> None:
    """It need not come up once more for that: a generation may crash-loop."""
    rollout, desired, seen = soaks()
    again = replace(seen, newer_at=1055.0)
    assert became(rollout, desired, again, 1056.0) == (
        MemberState.FAILED,
        "it started again 45 s after it was up",
    )


def test_a_script_fetched_in_the_name_of_who_sends_heartbeats_fails_nobody() -> None:
    rollout, desired, seen = soaks(agent=True)
    forged = replace(seen, newer_at=1055.0)
    assert became(rollout, desired, forged, 1056.0) == STAYS
    assert became(rollout, desired, forged, 1100.0) == STAYS
    assert became(rollout, desired, replace(forged, heard_at=1075.0), 1100.0) == DONE
    other = replace(forged, boot="b2", minted_at=1055.0, up_at=1090.0, newer_at=0.0)
    assert became(rollout, desired, other, 1100.0) == (
        MemberState.FAILED,
        "it started again 45 s after it was up",
    )


def test_who_names_another_root_while_it_soaks_has_failed() -> None:
    rollout, desired, seen = soaks(agent=True)
    other = replace(seen, heard_at=1075.0, root="")
    assert became(rollout, desired, other, 1100.0) == (
        MemberState.FAILED,
        "it runs the root (none named), not its generation's",
    )


def test_who_is_starting_just_now_is_not_taken_for_up() -> None:
    desired, step = booting(LIMIT, 0.0)
    rollout = replace(
        step.rollout,
        members={"n1": replace(step.rollout.members["n1"], state=MemberState.WAITING)},
        policy=replace(step.rollout.policy, method=RebootMethod.NONE),
    )
    seen = Sighting("b1", 1.0, NEW, up_at=2.0, root=ROOT, newer_at=990.0)
    assert advance(rollout, desired, {"n1": seen}, 1010.0).empty
    up = replace(seen, newer_at=0.0)
    assert became(rollout, desired, up, 1010.0) == DONE
