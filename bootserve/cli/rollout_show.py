"""How rollouts are shown, once or as they go on."""

from __future__ import annotations

import asyncio
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from bootserve.cli.client import Api
from bootserve.cli.output import Output, local_time
from bootserve.cli.session import Session
from bootserve.model.duration import duration_text
from bootserve.model.rollout import FINAL, MemberState, RolloutState
from bootserve.servers.admin.schemas_rollout import (
    MemberList,
    MemberOut,
    RolloutList,
    RolloutOut,
    RolloutShown,
    RolloutStarted,
    StageOut,
    StoryOut,
)

__all__ = ["render_list", "render_members", "render_rollout", "render_started", "said", "watch"]

POLL_SECONDS = 1.0
OVER = (RolloutState.DONE, RolloutState.FAILED, RolloutState.ABORTED)


def said(found: RolloutOut) -> str:
    """Return in one line where a rollout is."""
    reason = f": {found.reason}" if found.reason else ""
    where = f"stage {found.stage} of {len(found.stages)}" if found.stage else "not begun"
    return f"Rollout {found.number} is {found.state}{reason} ({where}, {_done(found)})."


def _done(found: RolloutOut) -> str:
    failed = found.counts.get(MemberState.FAILED, 0)
    text = f"{found.counts.get(MemberState.DONE, 0)} of {found.nodes} nodes done"
    return f"{text}, {failed} failed" if failed else text


def _counts(counts: dict[MemberState, int]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in MemberState if counts.get(state))


def _policy(found: RolloutOut) -> str:
    policy = found.policy
    parts = [
        f"at most {policy.max_unavailable} at once",
        f"soak {duration_text(policy.soak)}",
        f"success {policy.success * 100:g}%",
        f"reboot {policy.reboot}",
        f"on failure {policy.on_failure}",
    ]
    if policy.stage_timeout:
        parts.append(f"stage timeout {duration_text(policy.stage_timeout)}")
    return ", ".join(parts)


def _head(found: RolloutOut) -> list[tuple[str, object]]:
    return [
        ("Rollout", f"{found.number}: {found.scope} to {found.generation}"),
        ("State", f"{found.state}{': ' + found.reason if found.reason else ''}"),
        ("Policy", _policy(found)),
        ("Started", f"{local_time(found.created_at)} by {found.created_by}"),
        ("Ended", local_time(found.ended_at) if found.ended_at else ""),
        ("Nodes", f"{found.nodes}: {_counts(found.counts)}"),
    ]


def _stages(out: Output, found: RolloutOut) -> None:
    rows = [
        [_mark(found, place), stage.nodes, _counts(stage.counts)]
        for place, stage in enumerate(found.stages, 1)
    ]
    out.table(["STAGE", ">NODES", "OF WHICH"], rows)


def _mark(found: RolloutOut, place: int) -> str:
    return f"{place} <" if place == found.stage and found.state not in OVER else str(place)


def render_started(out: Output, found: RolloutStarted) -> None:
    """Print a rollout that begins, or would, with who is left out of it."""
    if found.number:
        out.line(f"Rollout {found.number} of {found.generation} over {found.scope} has begun.")
    else:
        out.line(f"A rollout of {found.generation} over {found.scope} would be:")
    out.pairs([("Policy", _policy(found)), ("Nodes", found.nodes)])
    _stages(out, found)
    for why, names in sorted(found.left_out.items()):
        some = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        out.note(f"left out, {why}: {len(names)} ({some})")
    if found.number:
        out.note(f"Follow it with 'bootserve rollout status -w {found.number}'.")


def render_rollout(out: Output, found: RolloutShown) -> None:
    """Print a rollout with its stages, who is under way or failed, and its story."""
    out.pairs([row for row in _head(found) if row[1]])
    out.line("")
    _stages(out, found)
    if found.unsettled:
        out.line("")
        _table(out, found.unsettled)
    out.line("")
    for one in found.story:
        out.line(_line(one))


def _line(one: StoryOut) -> str:
    revision = f" (revision {one.revision})" if one.revision else ""
    return f"{local_time(one.at)}  {one.text}{revision}"


def _table(out: Output, members: list[MemberOut]) -> None:
    rows = [
        [one.node, one.stage, one.state, local_time(one.since or None), one.attempt, one.detail]
        for one in members
    ]
    out.table(["NODE", ">STAGE", "STATE", "SINCE", ">REBOOTS", "DETAIL"], rows)


def render_members(out: Output, found: MemberList) -> None:
    """Print nodes of a rollout."""
    _table(out, found.nodes)


def render_list(out: Output, found: RolloutList) -> None:
    """Print rollouts, one a line."""
    if not found.rollouts:
        out.note("No rollouts. Begin one with 'bootserve rollout start'.")
        return
    out.table(
        [">ID", "SCOPE", "GENERATION", "STATE", "STAGE", "NODES", "STARTED", "BY"],
        [
            [
                one.number,
                one.scope,
                one.generation,
                one.state,
                f"{one.stage}/{len(one.stages)}",
                _done(one),
                local_time(one.created_at),
                one.created_by,
            ]
            for one in found.rollouts
        ],
    )


def watch(session: Session, number: int) -> bool:
    """Follow a rollout until it is over; return whether it is done, and not failed or aborted.

    On a terminal with a bar for each stage; elsewhere a line for each event, or with ``--json``
    each state of the rollout as one line.
    """
    return session.run(lambda api: _follow(api, session.out, number))


async def _follow(api: Api, out: Output, number: int) -> bool:
    told: Any = None
    bars: dict[int, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with out.progress(*columns) as progress:
        while True:
            reply = await api.call("GET", f"/rollouts/{number}", RolloutShown)
            found = reply.value
            told = _tell(out, found, told)
            for place, stage in enumerate(found.stages, 1):
                if place not in bars:
                    bars[place] = progress.add_task("", total=stage.nodes)
                words = f"stage {place}: {_counts(stage.counts)}"
                progress.update(bars[place], completed=_ended(stage), description=words)
            if found.state in OVER and not _winding_down(found):
                break
            await asyncio.sleep(POLL_SECONDS)
    if not out.is_json:
        out.line(said(found))
    return found.state is RolloutState.DONE


def _tell(out: Output, found: RolloutShown, told: Any) -> Any:
    """Print what is new of the story since ``told``; return what is told now."""
    if out.is_json:
        now = found.model_dump_json()
        if now != told:
            print(now, flush=True)
        return now
    lines = [_line(one) for one in found.story]
    known = told or []
    new = lines[len(known) :] if lines[: len(known)] == known else _after(lines, known)
    for line in new:
        out.line(line)
    return lines


def _after(lines: list[str], known: list[str]) -> list[str]:
    """Return the lines after the last that is known: of a long story only the end is sent."""
    last = known[-1] if known else ""
    return lines[lines.index(last) + 1 :] if last in lines else lines


def _ended(stage: StageOut) -> int:
    return sum(stage.counts.get(state, 0) for state in FINAL)


def _winding_down(found: RolloutShown) -> bool:
    return any(one.state not in FINAL | {MemberState.WAITING} for one in found.unsettled)
