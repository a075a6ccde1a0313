"""``reboot``, ``reboots`` and ``hooks``: make a node reboot, and see what was run around it."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import typer

from bootserve.cli import complete
from bootserve.cli.client import Api, Reply, given, segment
from bootserve.cli.command import command, group
from bootserve.cli.options import NodeArg
from bootserve.cli.output import Output, local_time
from bootserve.cli.session import Session
from bootserve.model.hooks import HookOutcome
from bootserve.model.reboot import RebootMethod
from bootserve.model.reboot_record import RebootPhase
from bootserve.servers.admin.schemas_reboots import (
    HookList,
    HookRunOut,
    HookTestOut,
    RebootList,
    RebootOut,
)

__all__ = ["add_commands"]

PANEL = "Nodes"
POLL_SECONDS = 0.5

ByOption = Annotated[
    RebootMethod | None,
    typer.Option(
        "--by",
        help="agent: the node is asked at its next heartbeat. redfish: its BMC (label bmc). hook:"
        " what the settings declare. none: you do it. Default: redfish if it has a BMC, else"
        " agent.",
    ),
]
HookArg = Annotated[
    str, typer.Argument(metavar="HOOK", help="A hook's name.", autocompletion=complete.hooks)
]
OptionalNode = Annotated[
    str,
    typer.Argument(metavar="NODE", help="Only this node's.", autocompletion=complete.nodes),
]


def add_commands(app: typer.Typer) -> None:
    """Add ``reboot``, ``reboots`` and ``hooks …`` to ``app``."""
    command(
        app,
        "reboot",
        "bootserve reboot r12-n01",
        "bootserve reboot r12-n01 --by redfish --no-hooks",
        "bootserve reboot r12-n01 --cancel",
        panel=PANEL,
    )(reboot)
    command(
        app,
        "reboots",
        "bootserve reboots r12-n01 --hooks",
        "bootserve reboots --rollout 3",
        panel=PANEL,
    )(reboots)
    hooks = group(app, "hooks", "What is run before and after a node's reboot.", PANEL)
    command(hooks, "list", "bootserve hooks list")(list_hooks)
    command(hooks, "test", "bootserve hooks test drain r12-n01")(test)


def reboot(
    session: Session,
    name: NodeArg,
    *,
    by: ByOption = None,
    no_hooks: Annotated[
        bool, typer.Option("--no-hooks", help="Run no hooks before and after it.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait for its end; 'reboots' shows it.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Leave the reboot under way off where it stands.")
    ] = False,
) -> None:
    """Reboot a node: hooks before it, the reboot, waiting until it is up, hooks after it.

    The server carries it out, over a restart of its own too: Ctrl-C ends only the waiting. Exits
    with 0 once the node is up and every hook has succeeded, with 1 when something failed.
    """
    path = f"/nodes/{segment(name)}/reboot"
    if cancel:
        if by is not None or no_hooks or no_wait:
            raise typer.BadParameter("it goes alone", param_hint="--cancel")
        session.show(session.call("DELETE", path, RebootOut), _ended)
        return
    body = {"by": by and by.value, "hooks": not no_hooks}
    reply = session.call("POST", path, RebootOut, body=body)
    if no_wait:
        session.show(reply, _begun)
        return
    reply = session.run(lambda api: _follow(api, reply.value, session.out))
    session.show(reply, _ended)
    if not reply.value.done:
        raise typer.Exit(1)


async def _follow(api: Api, begun: RebootOut, out: Output) -> Reply[RebootOut]:
    """Tell what happens until the reboot has ended; return it then."""
    told: set[str] = set()
    while True:
        reply = await api.call("GET", f"/reboots/{segment(begun.id)}", RebootOut)
        for line in _story(reply.value):
            if line not in told:
                told.add(line)
                out.note(line)
        if reply.value.phase is RebootPhase.ENDED:
            return reply
        await asyncio.sleep(POLL_SECONDS)


def _story(now: RebootOut) -> list[str]:
    """Return what has happened so far, a line each, in order."""
    before = [_run_line(run) for run in now.runs if run.when != "after"]
    after = [_run_line(run) for run in now.runs if run.when == "after"]
    if now.told_at is not None:
        before.append(_telling(now))
    if now.told_at is not None and now.phase is RebootPhase.WAITING:
        before.append(f"{now.node}: {now.detail}; waiting until it is up")
    if now.up:
        before.append(f"{now.node}: it is up")
    return before + after


def _telling(now: RebootOut) -> str:
    match now.method:
        case RebootMethod.AGENT:
            return f"{now.node}: its agent is asked at its next heartbeat"
        case RebootMethod.REDFISH:
            return f"{now.node}: its BMC is asked to restart it"
        case RebootMethod.HOOK:
            return f"{now.node}: a hook reboots it"
        case RebootMethod.NONE:
            return f"{now.node}: reboot it now, by hand"


def _run_line(run: HookRunOut) -> str:
    if run.outcome is HookOutcome.RUNNING:
        return f"hook {run.hook} ({run.when}), attempt {run.attempt}: running"
    return f"hook {run.hook} ({run.when}), attempt {run.attempt}: {run.outcome}, {run.detail}"


def _begun(out: Output, now: RebootOut) -> None:
    out.line(f"{now.id} is begun, by {now.method}. See 'bootserve reboots {now.node}'.")


def _ended(out: Output, now: RebootOut) -> None:
    took = (now.ended_at or time.time()) - now.asked_at
    if now.done:
        noted = f" ({now.detail})" if now.detail else ""
        out.line(f"{now.node} is rebooted and up, in {took:.0f} s{noted}.")
        return
    out.line(f"{now.node} is not rebooted: {now.failure}", style="red")
    for run in now.runs:
        if run.outcome not in (HookOutcome.SUCCEEDED, HookOutcome.RUNNING) and run.output:
            out.line(f"hook {run.hook}, attempt {run.attempt}, said:")
            out.raw(run.output.rstrip("\n") + "\n")


def reboots(
    session: Session,
    node: OptionalNode = "",
    *,
    rollout: Annotated[
        int | None, typer.Option("--rollout", metavar="N", min=1, help="Only this rollout's.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=500, help="How many, newest first.")
    ] = 20,
    hooks: Annotated[
        bool, typer.Option("--hooks", help="Show every attempt of a hook and what it said.")
    ] = False,
) -> None:
    """List reboots: who asked for them, how far they are, how they ended."""
    query = given(limit=limit, node=node, rollout=rollout)
    reply = session.pages("/reboots", RebootList, query=query, most=limit)
    session.show(reply, _with_hooks if hooks else _table)


def _table(out: Output, answer: RebootList) -> None:
    if not answer.reboots:
        out.note("No reboots.")
        return
    out.table(
        ["ASKED FOR", "NODE", "BY", "HOW", "TO", "STATE", ">HOOKS", "WHAT", "ID"],
        [
            [
                local_time(one.asked_at),
                one.node,
                one.by,
                one.method,
                one.to_generation,
                _state(one),
                len(one.runs),
                one.failure or one.detail,
                one.id,
            ]
            for one in answer.reboots
        ],
    )


def _state(one: RebootOut) -> str:
    if one.phase is not RebootPhase.ENDED:
        return f"{one.phase}…"
    if one.done:
        return "done"
    return "skipped" if one.skipped else "failed"


def _with_hooks(out: Output, answer: RebootList) -> None:
    _table(out, answer)
    for one in answer.reboots:
        for run in one.runs:
            out.line("")
            out.line(f"{one.id}: {_run_line(run)}, {local_time(run.started_at)}")
            if run.output:
                out.raw("".join(f"  {line}\n" for line in run.output.splitlines()))


def list_hooks(session: Session) -> None:
    """List the hooks that the server's settings declare, in the order in which they are run."""
    session.show(session.call("GET", "/hooks", HookList), _hooks)


def _hooks(out: Output, answer: HookList) -> None:
    if not answer.hooks:
        out.note("No hooks. They are [[hooks]] tables of the server's settings: docs/reboots.md.")
        return
    out.table(
        ["HOOK", "WHEN", ">TIMEOUT", ">RETRIES", "RACKS", "ROLES", "ON FAILURE", "WHAT"],
        [
            [
                one.name,
                one.when,
                f"{one.timeout:g} s",
                one.retries,
                " ".join(one.racks) or "all",
                " ".join(one.roles) or "all",
                one.on_failure,
                one.url or " ".join(one.run),
            ]
            for one in answer.hooks
        ],
    )


def test(session: Session, hook: HookArg, node: NodeArg) -> None:
    """Call a hook once for a node, as it would be called, but told that this is a test.

    It is really called: BOOTSERVE_TEST is 1, or "test" true in a webhook's body, and it is for the
    hook to change nothing then, as the shipped ones do. Exits with 1 when it fails.
    """
    body: dict[str, Any] = {"node": node}
    path = f"/hooks/{segment(hook)}/test"
    reply = session.run(lambda api: api.call("POST", path, HookTestOut, body=body, patient=True))
    session.show(reply, _tested)
    if reply.value.outcome is not HookOutcome.SUCCEEDED:
        raise typer.Exit(1)


def _tested(out: Output, done: HookTestOut) -> None:
    if done.output:
        out.raw(done.output.rstrip("\n") + "\n")
    good = done.outcome is HookOutcome.SUCCEEDED
    out.line(
        f"hook {done.hook} {done.outcome} for {done.node}: {done.detail}, {done.seconds:.1f} s.",
        style="" if good else "red",
    )
