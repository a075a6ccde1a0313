"""A rollout's next step: a pure state machine.

What goes in: the rollout as it is, the desired state, what its nodes said, what became of the parts
of their reboots, and the time. What comes out is a :class:`Step`: the rollout as it is now, which
of its nodes changed, what happened, and the change of pins that belongs to it, all of which is
stored in one transaction. What is to be done with the nodes follows from the rollout alone
(:func:`bootserve.core.rollout_nodes.due`), so that a server that starts again goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from bootserve.core.rollout_nodes import Outcome, finish, move, take
from bootserve.core.rollout_pins import PinMove, back, entered, final, ours, scope_pin
from bootserve.core.rollout_work import Work
from bootserve.errors import Conflict
from bootserve.model.desired import DesiredState, ScopeKind
from bootserve.model.reboot import RebootMethod
from bootserve.model.rollout import (
    FINAL,
    IN_FLIGHT,
    Member,
    MemberState,
    Rollout,
    RolloutEvent,
    RolloutState,
    Sighting,
    StageFailure,
)

__all__ = [
    "Step",
    "abort",
    "advance",
    "allowed_failures",
    "halt",
    "pause",
    "resume",
    "retry",
]

EPSILON = 1e-9
UNSEEN = Sighting()


@dataclass(frozen=True, slots=True)
class Step:
    """What a rollout became: its ``changed`` members, what happened, the pins that move with it."""

    rollout: Rollout
    changed: tuple[Member, ...] = ()
    events: tuple[RolloutEvent, ...] = ()
    pins: PinMove | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing happened, so that there is nothing to store."""
        return not self.changed and not self.events and self.pins is None


def allowed_failures(nodes: int, success: float) -> int:
    """Return how many of ``nodes`` may fail when the share ``success`` has to be done."""
    return nodes - ceil(nodes * success - EPSILON)


def advance(
    rollout: Rollout,
    state: DesiredState,
    sightings: Mapping[str, Sighting],
    now: float,
    outcomes: Sequence[Outcome] = (),
    *,
    since: float = 0.0,
) -> Step:
    """Return the rollout's next step; an empty one when nothing is to happen now.

    ``since`` is when the server began to listen: nobody is late for a time before that.
    """
    work = Work(rollout, now, since)
    for outcome in outcomes:
        take(work, outcome)
    _check_owner(work, state)
    for member in list(work.unsettled()):
        move(work, state, member, sightings.get(member.node, UNSEEN))
    if rollout.state is RolloutState.RUNNING and work.state is RolloutState.RUNNING:
        return _judge(work, state)
    return _step(work)


def _step(work: Work, pins: PinMove | None = None) -> Step:
    rollout, changed, events = work.result()
    return Step(rollout, changed, events, pins)


def _check_owner(work: Work, state: DesiredState) -> None:
    """Pause when the pin that the rollout is to replace was changed by hand."""
    rollout = work.rollout
    if rollout.state is not RolloutState.RUNNING or rollout.scope.kind is ScopeKind.NODE:
        return
    found = scope_pin(state, rollout)
    if found != rollout.base:
        what = f"set to {found.generation}" if found else "removed"
        work.pause(f"the pin of {rollout.scope} was {what} by hand: abort, or resume to replace it")


def _judge(work: Work, state: DesiredState) -> Step:
    """Ask more nodes of the stage, fail it, end it or enter the next."""
    rollout = work.rollout
    if rollout.stage < 0:
        return _enter(work, state, 0)
    members = [one for one in work.members() if one.stage == rollout.stage]
    counted = [one for one in members if one.state is not MemberState.LEFT]
    failed = [one for one in counted if _has_failed(one)]
    allowed = allowed_failures(len(counted), rollout.policy.success)
    if len(failed) > allowed:
        return _stage_failed(work, state, f"{len(failed)} of its {len(counted)} nodes failed")
    if all(one.state in FINAL for one in members):
        if rollout.stage + 1 < len(rollout.stages):
            return _enter(work, state, rollout.stage + 1)
        return _done(work, state)
    if work.stage_late:
        return _stage_failed(work, state, f"it took over {rollout.policy.stage_timeout:g} s")
    _ask(work, members)
    return _step(work)


def _has_failed(member: Member) -> bool:
    failing = member.state is MemberState.AFTER and member.then is MemberState.FAILED
    return failing or member.state is MemberState.FAILED


def _ask(work: Work, members: Sequence[Member]) -> None:
    """Begin with as many waiting nodes as max-unavailable leaves room for."""
    policy = work.rollout.policy
    if policy.method is RebootMethod.NONE:
        return
    room = policy.max_unavailable - sum(one.state in IN_FLIGHT for one in work.members())
    for member in members:
        if room <= 0:
            return
        if member.state is MemberState.WAITING and member.pinned:
            work.put(member, MemberState.BEFORE, attempt=member.attempt + 1)
            room -= 1


def _enter(work: Work, state: DesiredState, stage: int) -> Step:
    """Pin the nodes of ``stage``; those that an admin has pinned, moved or removed are left."""
    rollout = work.rollout
    taken = []
    for member in [one for one in work.members() if one.stage == stage]:
        if member.state is MemberState.LEFT:
            continue
        if reason := ours(state, rollout, member):
            work.tell(f"{member.node} is left alone: {reason}", member.node)
            work.put(member, MemberState.LEFT, detail=reason)
        else:
            work.put(member, MemberState.WAITING, pinned=True)
            taken.append(member)
    work.stage(stage)
    what = f"stage {stage + 1} of {len(rollout.stages)}: {_nodes(len(taken))} to"
    work.tell(f"{what} {rollout.generation}")
    return _step(work, entered(rollout, taken, f"{what} {rollout.generation}") if taken else None)


def _stage_failed(work: Work, state: DesiredState, why: str) -> Step:
    rollout = work.rollout
    reason = f"stage {rollout.stage + 1} failed: {why}"
    work.end(RolloutState.FAILED, reason)
    _stop_hooks(work)
    if rollout.policy.on_failure is StageFailure.HOLD:
        work.tell(f"{reason}; its pins stay as they are")
        return _step(work)
    stage = [one for one in work.members() if one.stage == rollout.stage]
    return _put_back(work, state, stage, reason)


def _stop_hooks(work: Work) -> None:
    """Let the nodes whose hooks before a reboot run not be rebooted."""
    for member in list(work.members()):
        if member.state is MemberState.BEFORE:
            finish(work, member, MemberState.WAITING, up=True)


def _put_back(work: Work, state: DesiredState, members: Sequence[Member], reason: str) -> Step:
    """Take the rollout's pins off ``members``; who is under way ends well."""
    rollout = work.rollout
    pinned = [one for one in members if one.pinned and not ours(state, rollout, one)]
    for member in members:
        work.amend(member, pinned=False)
    if not pinned:
        work.tell(f"{reason}; it had no pins to put back")
        return _step(work)
    text = f"{reason}; the pins of {_nodes(len(pinned))} are put back"
    work.tell(text)
    return _step(work, back(rollout, pinned, text))


def _done(work: Work, state: DesiredState) -> Step:
    """End well: the scope gets the pin, and its nodes lose theirs."""
    rollout = work.rollout
    pinned = [one for one in work.members() if one.pinned and not ours(state, rollout, one)]
    for member in pinned:
        work.amend(member, pinned=False)
    work.end(RolloutState.DONE, "")
    if rollout.scope.kind is ScopeKind.NODE:
        work.tell("done")
        return _step(work)
    text = f"done: {rollout.scope} is pinned to {rollout.generation}"
    work.tell(text)
    return _step(work, final(rollout, pinned, text))


def pause(rollout: Rollout, now: float, by: str) -> Step:
    """Ask no more nodes and enter no stage; raises Conflict unless it is running."""
    _expect(rollout, "paused", RolloutState.RUNNING)
    work = Work(rollout, now)
    work.pause(f"paused by {by}")
    return _step(work)


def halt(rollout: Rollout, now: float, reason: str) -> Step:
    """Pause a running rollout whose next step is refused."""
    work = Work(rollout, now)
    work.pause(f"it cannot go on: {reason}")
    return _step(work)


def resume(rollout: Rollout, state: DesiredState, now: float, by: str) -> Step:
    """Go on, and take the scope's pin as it is now; raises Conflict unless it is paused."""
    _expect(rollout, "resumed", RolloutState.PAUSED)
    work = Work(rollout, now)
    work.resume(scope_pin(state, rollout), f"resumed by {by}")
    return _step(work)


def retry(rollout: Rollout, state: DesiredState, now: float, by: str) -> Step:
    """Try the stage's nodes again that are not done; of a stage that failed, all of them.

    Raises Conflict for a rollout that is done or aborted.
    """
    _expect(rollout, "retried", RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.FAILED)
    work = Work(rollout, now)
    again = [one for one in work.members() if one.stage == rollout.stage]
    if rollout.state is not RolloutState.FAILED:
        for member in again:
            if member.state is MemberState.FAILED:
                work.put(member, MemberState.WAITING)
        work.tell(f"its failed nodes are tried again, says {by}")
        return _step(work)
    for member in again:
        if member.state in (MemberState.DONE, MemberState.FAILED):
            work.put(member, MemberState.WAITING)
    work.resume(scope_pin(state, rollout), f"retried by {by}")
    return _enter_again(work, state)


def _enter_again(work: Work, state: DesiredState) -> Step:
    rollout, taken = work.rollout, []
    for member in [one for one in work.members() if one.stage == rollout.stage]:
        if member.state is MemberState.LEFT or member.pinned:
            continue
        if reason := ours(state, rollout, member):
            finish(work, member, MemberState.LEFT, up=True, detail=reason)
        else:
            work.amend(member, pinned=True)
            taken.append(member)
    work.stage(max(rollout.stage, -1))
    text = f"stage {rollout.stage + 1} of {len(rollout.stages)} again: {_nodes(len(taken))}"
    return _step(work, entered(rollout, taken, text) if taken else None)


def abort(rollout: Rollout, state: DesiredState, now: float, by: str, *, keep: bool) -> Step:
    """End it for good; its pins are put back in one revision, or with ``keep`` stay.

    Raises Conflict when it is done or aborted already.
    """
    _expect(rollout, "aborted", RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.FAILED)
    work = Work(rollout, now)
    reason = f"aborted by {by}"
    work.end(RolloutState.ABORTED, reason)
    _stop_hooks(work)
    if keep:
        work.tell(f"{reason}; its pins stay as they are")
        for member in list(work.members()):
            work.amend(member, pinned=False)
        return _step(work)
    return _put_back(work, state, list(work.members()), reason)


def _expect(rollout: Rollout, verb: str, *states: RolloutState) -> None:
    if rollout.state not in states:
        raise Conflict(f"rollout {rollout.number} is {rollout.state} and cannot be {verb}")


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
