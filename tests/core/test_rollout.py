"""What a rollout makes of a time in which no server was there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootserve.core.rollout import Step, advance
from bootserve.core.rollout_nodes import Outcome, due
from bootserve.core.rollout_plan import plan_rollout
from bootserve.model.desired import DesiredState, Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.reboot import RebootMethod
from bootserve.model.rollout import MemberState, RolloutState
from tests.support.states import generation, node, snapshot, state

LIMIT = 900.0


def booting(node_timeout: float, stage_timeout: float) -> tuple[DesiredState, Step]:
    """Return the desired state and a rollout whose one node was made to reboot at 1000."""
    desired = state(node("n1", "52:54:00:00:00:01", rack="r1", role="compute"), pins="site web@1")
    current = snapshot(desired, generation("web@1"), generation("web@2"))
    planned = plan_rollout(current, Scope.parse("site"), GenerationRef("web", 2), "100%", "1")
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
