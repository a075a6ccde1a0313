"""What comes next in a node's reboot, from what is on record: so that it survives a restart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bootserve.core.hooks import pause_after
from bootserve.model.desired import Node
from bootserve.model.hooks import Hook, HookCall, HookOutcome, HookRun, HookWhen, OnFailure
from bootserve.model.reboot_record import Reboot

__all__ = [
    "Attempt",
    "GivenUp",
    "Passed",
    "Verdict",
    "call_of",
    "standing",
    "trial_of",
    "verdict_of",
]

FAILED = (HookOutcome.FAILED, HookOutcome.TIMED_OUT)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The hook is to be run, as attempt ``number``, not before ``at`` (seconds since the epoch)."""

    number: int
    at: float


@dataclass(frozen=True, slots=True)
class Passed:
    """The hook has succeeded, and is not run again."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The hook has failed for good; ``detail`` says how."""

    detail: str


def standing(
    hook: Hook, runs: Iterable[HookRun], key: str, now: float
) -> Attempt | Passed | GivenUp:
    """Return what is to be done about ``hook``, given its attempts for one reboot.

    An attempt whose outcome is unknown, since the server ended meanwhile, is made again at once and
    does not count as a failure: hooks have to bear being run again. ``key`` spreads the pauses.
    """
    made = sorted((run for run in runs if run.hook == hook.name), key=lambda run: run.attempt)
    if not made:
        return Attempt(1, now)
    last = made[-1]
    if last.outcome is HookOutcome.SUCCEEDED:
        return Passed()
    if last.outcome not in FAILED:
        return Attempt(last.attempt + 1, now)
    failures = sum(run.outcome in FAILED for run in made)
    if last.final or failures > hook.retries:
        times = "" if failures == 1 else f", {failures} times"
        return GivenUp(f"hook {hook.name} failed: {last.detail}{times}")
    pause = max(pause_after(hook, failures, key), last.wait)
    return Attempt(last.attempt + 1, (last.ended_at or now) + pause)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the hooks of one kind came to: ``failure`` is empty when the reboot may go on."""

    failure: str = ""
    skipped: bool = False
    ignored: tuple[str, ...] = ()


def verdict_of(given_up: Sequence[tuple[Hook, GivenUp]]) -> Verdict:
    """Return what the hooks that failed mean together: the first that is not to be ignored says."""
    ignored = tuple(one.detail for hook, one in given_up if hook.on_failure is OnFailure.IGNORE)
    for hook, one in given_up:
        if hook.on_failure is not OnFailure.IGNORE:
            return Verdict(one.detail, hook.on_failure is OnFailure.SKIP, ignored)
    return Verdict(ignored=ignored)


def call_of(
    hook: Hook, reboot: Reboot, node: Node, *, attempt: int, rebooted: bool = False
) -> HookCall:
    """Return what ``hook`` is told of ``reboot`` at its ``attempt``."""
    return HookCall(
        key=f"{reboot.id}/{hook.name}",
        hook=hook.name,
        when=hook.when,
        node=node.name,
        rack=node.rack,
        role=node.role,
        macs=node.macs,
        labels=node.labels,
        from_generation=reboot.from_generation,
        to_generation=reboot.to_generation,
        reboot=reboot.id,
        rollout=str(reboot.rollout or ""),
        attempt=attempt,
        rebooted=rebooted,
    )


def trial_of(hook: Hook, node: Node, now: float) -> HookCall:
    """Return a call that only tries ``hook`` for ``node``; ``now`` (seconds, epoch) names it."""
    return HookCall(
        key=f"test-{hook.name}-{node.name}-{now:.3f}",
        hook=hook.name,
        when=hook.when,
        node=node.name,
        rack=node.rack,
        role=node.role,
        macs=node.macs,
        labels=node.labels,
        rebooted=hook.when is HookWhen.AFTER,
        test=True,
    )
