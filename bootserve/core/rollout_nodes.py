"""What one node of a rollout goes through: told what became of its parts, and what it said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from bootserve.core.rollout_pins import ours
from bootserve.core.rollout_work import Work
from bootserve.model.desired import DesiredState
from bootserve.model.reboot import RebootTask
from bootserve.model.rollout import IN_FLIGHT, Member, MemberState, Rollout, Sighting

__all__ = ["Outcome", "Part", "due", "finish", "move", "take"]


class Part(StrEnum):
    """A part of a node's reboot."""

    BEFORE = "before"
    REBOOT = "reboot"
    AFTER = "after"


_PARTS = {
    MemberState.BEFORE: Part.BEFORE,
    MemberState.REBOOTING: Part.REBOOT,
    MemberState.AFTER: Part.AFTER,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one part of the ``attempt``-th reboot of ``node``.

    ``skipped``: a hook asks that the node be left out, which is no failure.
    """

    node: str
    attempt: int
    part: Part
    done: bool
    detail: str = ""
    skipped: bool = False


def due(rollout: Rollout) -> list[tuple[Part, RebootTask, bool]]:
    """Return the parts that are to be under way now; the flag is what ``after`` is told of up."""
    method, found = rollout.policy.method, []
    for member in rollout.members.values():
        part = _PARTS.get(member.state)
        if part is not None:
            task = RebootTask(
                rollout.number, member.node, member.attempt, method, rollout.generation
            )
            found.append((part, task, member.up))
    return found


def take(work: Work, outcome: Outcome) -> None:
    """Take note of what became of a part, unless the node is somewhere else by now."""
    member = work.member(outcome.node)
    if (
        member is None
        or _PARTS.get(member.state) is not outcome.part
        or member.attempt != outcome.attempt
    ):
        return
    if outcome.part is Part.AFTER:
        _after_ended(work, member, outcome)
    elif outcome.skipped:
        work.tell(f"{member.node} is left out: {outcome.detail}", member.node)
        finish(work, member, MemberState.LEFT, up=True, detail=outcome.detail)
    elif not outcome.done:
        _fail(work, member, f"{_WHAT[outcome.part]}: {outcome.detail}", up=True)
    elif outcome.part is Part.BEFORE:
        work.put(member, MemberState.REBOOTING)
    else:
        work.put(member, MemberState.BOOTING, detail=outcome.detail)


_WHAT = {Part.BEFORE: "a hook before its reboot", Part.REBOOT: "its reboot"}


def _after_ended(work: Work, member: Member, outcome: Outcome) -> None:
    if outcome.done or member.then is MemberState.FAILED:
        work.put(member, member.then, detail=member.detail)
        return
    detail = f"a hook after its reboot: {outcome.detail}"
    work.put(member, MemberState.FAILED, detail=detail)
    work.tell(f"{member.node} failed: {detail}", member.node)


def _fail(work: Work, member: Member, why: str, *, up: bool) -> None:
    """Give ``member`` up; ``up`` is whether it is up all the same, having never gone down."""
    work.tell(f"{member.node} failed: {why}", member.node)
    finish(work, member, MemberState.FAILED, up=up, detail=why)


def finish(work: Work, member: Member, then: MemberState, *, up: bool, detail: str = "") -> None:
    """Let the hooks after the reboot run, where those before it did, and then be ``then``."""
    if member.attempt and member.state in IN_FLIGHT:
        work.put(member, MemberState.AFTER, then=then, up=up, detail=detail)
    else:
        work.put(member, then, detail=detail)


def move(work: Work, state: DesiredState, member: Member, seen: Sighting) -> None:
    """Take one node of the stages entered as far as what is known of it allows."""
    if member.pinned and (reason := ours(state, work.rollout, member)):
        work.tell(f"{member.node} is left alone: {reason}", member.node)
        finish(work, replace(member, pinned=False), MemberState.LEFT, up=True, detail=reason)
        return
    match member.state:
        case MemberState.WAITING if member.pinned:
            _waiting(work, member, seen)
        case MemberState.REBOOTING if _is_up(work.rollout, seen) and not work.winding_down:
            _soak(work, member, seen)
        case MemberState.BOOTING:
            _booting(work, member, seen)
        case MemberState.SOAKING:
            _soaking(work, member, seen)


def _is_up(rollout: Rollout, seen: Sighting) -> bool:
    """Whether the node reported the new generation's own root, and is still there."""
    booted = seen.up_at > 0 and not seen.silent
    return booted and seen.generation == rollout.generation and seen.root == rollout.root


def _is_failing(rollout: Rollout, seen: Sighting) -> bool:
    """Whether the node was found not to come up with the rollout's generation."""
    return bool(seen.degraded) and seen.failing == rollout.generation


def _since(member: Member, seen: Sighting) -> bool:
    """Whether the boot began after the node was made to reboot."""
    return seen.minted_at >= member.since


def _starts_again(seen: Sighting) -> bool:
    """Whether the node has left the boot that it was up with, as far as anybody can tell.

    A script alone says nothing of a node that sends heartbeats: whoever is on the wire may fetch
    one in its name. It goes on speaking by its boot, or falls silent, or reports by the new one.
    """
    return seen.newer_at > 0 and not seen.agent


def _waiting(work: Work, member: Member, seen: Sighting) -> None:
    if _is_up(work.rollout, seen) and not _starts_again(seen):
        _soak(work, member, seen)
    elif _is_failing(work.rollout, seen):
        _fail(work, member, seen.degraded, up=False)


def _soak(work: Work, member: Member, seen: Sighting) -> None:
    soaking = work.put(member, MemberState.SOAKING, since=seen.up_at, boot=seen.boot)
    _soaking(work, soaking, seen)


def _booting(work: Work, member: Member, seen: Sighting) -> None:
    if work.winding_down:
        if seen.up_at and _since(member, seen):
            finish(work, member, MemberState.WAITING, up=True)
        elif work.late(member):
            _fail(work, member, _overdue(work, seen), up=False)
    elif _is_up(work.rollout, seen):
        _soak(work, member, seen)
    elif _is_failing(work.rollout, seen):
        _fail(work, member, seen.degraded, up=False)
    elif seen.up_at and _since(member, seen):
        _fail(work, member, _other(work.rollout, seen), up=False)
    elif work.late(member):
        _fail(work, member, _overdue(work, seen), up=False)


def _other(rollout: Rollout, seen: Sighting) -> str:
    if seen.generation != rollout.generation:
        return f"it came up with {seen.generation}"
    return f"it runs the root {seen.root or '(none named)'}, not its generation's"


def _overdue(work: Work, seen: Sighting) -> str:
    said = f" ({seen.problem})" if seen.problem else ""
    return f"it did not report up within {work.rollout.policy.node_timeout:g} s{said}"


def _soaking(work: Work, member: Member, seen: Sighting) -> None:
    if work.winding_down:
        finish(work, member, MemberState.WAITING, up=True)
    elif seen.boot != member.boot:
        _fail(work, member, _again(member, seen.minted_at), up=bool(seen.up_at))
    elif _starts_again(seen):
        _fail(work, member, _again(member, seen.newer_at), up=False)
    elif seen.silent:
        _fail(work, member, "its heartbeats stopped while it soaked", up=False)
    elif seen.root != work.rollout.root:
        _fail(work, member, _other(work.rollout, seen), up=True)
    elif work.soaked(member, seen):
        finish(work, member, MemberState.DONE, up=True)


def _again(member: Member, minted_at: float) -> str:
    return f"it started again {max(0.0, minted_at - member.since):.0f} s after it was up"
