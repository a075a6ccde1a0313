"""``bootserve as-of``: what was pinned, what was running, who had changed it last."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from bootserve.cli import complete
from bootserve.cli.command import command
from bootserve.cli.output import Output, local_time
from bootserve.cli.session import Session
from bootserve.cli.times import TIME_HELP, epoch
from bootserve.errors import InvalidInput
from bootserve.model.desired import Scope
from bootserve.servers.admin.schemas_audit import AsOfOut, NodeThen

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add ``as-of`` to ``app``."""
    command(
        app,
        "as-of",
        "bootserve as-of 2026-03-01T02:00Z r12-n01",
        "bootserve as-of 7d rack/r12",
        panel="Look",
    )(as_of)


def as_of(
    session: Session,
    at: Annotated[str, typer.Argument(metavar="TIME", help=TIME_HELP)],
    scope: Annotated[
        str,
        typer.Argument(
            metavar="NODE|SCOPE",
            help="A node, rack/NAME or role/NAME; else all nodes.",
            autocompletion=complete.nodes,
        ),
    ] = "site",
) -> None:
    """Show what nodes were pinned to at a time, what they ran, and who had changed that last.

    RUNS is what a node had reported by then of its newest boot; REVISION is the last that touched
    what it was pinned to: the node, its role, its rack or a pin.
    """
    moment = epoch(at, "TIME")
    if moment > time.time() + 60:
        raise InvalidInput("that time is still to come", hint="See 'bootserve explain'.")
    where = str(Scope.parse(scope if "/" in scope or scope == "site" else f"node/{scope}"))
    query: dict[str, str | int] = {"at": repr(moment), "scope": where}
    session.show(session.pages("/as-of", AsOfOut, query=query), _render)


def _render(out: Output, then: AsOfOut) -> None:
    revision = then.revision
    out.line(
        f"{local_time(then.at)}: revision {revision.number}, made {local_time(revision.at)}"
        f" by {revision.author}"
    )
    if not then.nodes:
        out.note("There were no nodes.")
        return
    headers = [
        "NODE",
        "PINNED",
        "BY",
        "RUNS",
        "BOOTED",
        ">REVISION",
        "CHANGED",
        "AUTHOR",
        "MESSAGE",
    ]
    out.table(headers, [_row(one) for one in then.nodes])


def _row(one: NodeThen) -> list[object]:
    changed = one.changed
    who = (
        [changed.number, local_time(changed.at), changed.author, changed.message]
        if changed
        else ["", "", "", ""]
    )
    return [one.node, one.generation or one.action, one.reason, *_running(one), *who]


def _running(one: NodeThen) -> tuple[str, str]:
    running = one.running
    if running is None:
        return "never booted", ""
    if running.up_at is None:
        return f"{running.generation}, not up", local_time(running.at)
    said = running.reported_generation or running.generation
    return said, local_time(running.at)
