from __future__ import annotations

import pytest

from bootserve.core.reboots import (
    Attempt,
    GivenUp,
    Passed,
    Verdict,
    call_of,
    standing,
    trial_of,
    verdict_of,
)
from bootserve.model.hooks import Hook, HookOutcome, HookRun, HookWhen, OnFailure
from bootserve.model.reboot import RebootMethod
from bootserve.model.reboot_record import Reboot
from tests.support.states import node

DRAIN = Hook("drain", HookWhen.BEFORE, run=("/bin/true",), retries=2, pause=10)
DONE, FAILED, LATE = HookOutcome.SUCCEEDED, HookOutcome.FAILED, HookOutcome.TIMED_OUT
UNKNOWN, RUNNING = HookOutcome.UNKNOWN, HookOutcome.RUNNING


def run(number: int, outcome: HookOutcome, hook: str = "drain", **fields: object) -> HookRun:
    return HookRun(
        hook,
        HookWhen.BEFORE,
        number,
        100.0 * number,
        outcome,
        100.0 * number + 1,
        detail="exit code 1",
        **fields,  # type: ignore[arg-type]
    )


def test_a_hook_is_tried_until_it_succeeds_and_not_again() -> None:
    assert standing(DRAIN, [], "n1", 50.0) == Attempt(1, 50.0)
    assert standing(DRAIN, [run(1, FAILED), run(2, DONE)], "n1", 500.0) == Passed()
    assert standing(DRAIN, [run(1, DONE, "other")], "n1", 50.0) == Attempt(1, 50.0)


def test_a_failure_is_followed_by_a_pause_that_grows() -> None:
    first = standing(DRAIN, [run(1, FAILED)], "n1", 500.0)
    second = standing(DRAIN, [run(1, FAILED), run(2, LATE)], "n1", 500.0)
    assert isinstance(first, Attempt)
    assert isinstance(second, Attempt)
    assert (first.number, second.number) == (2, 3)
    assert second.at - 201 == 2 * (first.at - 101) > 0


def test_a_webhook_that_asks_to_wait_is_waited_for() -> None:
    assert standing(DRAIN, [run(1, FAILED, wait=90.0)], "n1", 500.0) == Attempt(2, 191.0)


def test_it_is_given_up_after_its_retries_or_a_failure_for_good() -> None:
    runs = [run(1, FAILED), run(2, LATE), run(3, FAILED)]
    given_up = GivenUp("hook drain failed: exit code 1, 3 times")
    assert standing(DRAIN, runs, "n1", 500.0) == given_up
    for_good = standing(DRAIN, [run(1, FAILED, final=True)], "n1", 500.0)
    assert for_good == GivenUp("hook drain failed: exit code 1")


@pytest.mark.parametrize("outcome", [UNKNOWN, RUNNING])
def test_an_unknown_outcome_is_no_failure_and_it_is_run_again_at_once(
    outcome: HookOutcome,
) -> None:
    runs = [run(1, FAILED), run(2, FAILED), run(3, outcome)]
    assert standing(DRAIN, runs, "n1", 500.0) == Attempt(4, 500.0)
    assert isinstance(standing(DRAIN, [*runs, run(4, FAILED)], "n1", 500.0), GivenUp)


def of(policy: OnFailure) -> Hook:
    return Hook(f"h-{policy}", HookWhen.BEFORE, run=("/bin/true",), on_failure=policy)


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ("", Verdict()),
        ("ignore", Verdict(ignored=("0",))),
        ("ignore skip stop", Verdict("1", True, ("0",))),
        ("stop ignore", Verdict("0", False, ("1",))),
    ],
)
def test_the_first_failure_that_is_not_ignored_decides(policies: str, expected: Verdict) -> None:
    given_up = [
        (of(OnFailure(policy)), GivenUp(str(place)))
        for place, policy in enumerate(policies.split())
    ]
    assert verdict_of(given_up) == expected


def test_every_attempt_has_the_same_key_and_a_trial_one_of_its_own() -> None:
    reboot = Reboot("reboot-n1-4", "n1", RebootMethod.HOOK, "root", 1.0, to_generation="web@2")
    calls = [call_of(DRAIN, reboot, node(rack="r1"), attempt=number) for number in (1, 2)]
    assert [call.key for call in calls] == ["reboot-n1-4/drain"] * 2
    assert (calls[1].attempt, calls[1].rollout, calls[1].to_generation) == (2, "", "web@2")
    trial = trial_of(DRAIN, node(), 5.0)
    assert trial.test
    assert not calls[0].test
    assert trial.key != calls[0].key
