"""Commands on drift: what runs elsewhere than it should, and what was altered."""

from __future__ import annotations

import time
from difflib import unified_diff
from typing import Annotated

import typer
from rich.text import Text

from bootserve.cli import complete
from bootserve.cli.client import Reply, segment
from bootserve.cli.command import command
from bootserve.cli.output import Output, clean, human_size, local_time
from bootserve.cli.session import Session
from bootserve.errors import Unavailable
from bootserve.servers.admin.schemas_drift import (
    DiffOut,
    DriftList,
    DriftOut,
    EntryOut,
    NodeDriftOut,
    RunningOut,
)

__all__ = ["add_commands"]

DRIFT = 2
PATIENCE = 3
"""So many heartbeats a node is given to send a file."""

OptionalNode = Annotated[
    str,
    typer.Argument(
        metavar="NODE", help="A node: everything about it.", autocompletion=complete.nodes
    ),
]
Rack = Annotated[
    str,
    typer.Option(
        "--rack", metavar="RACK", help="Only this rack's nodes.", autocompletion=complete.racks
    ),
]
All = Annotated[bool, typer.Option("--all", help="Also the nodes without drift.")]
Diff = Annotated[
    str,
    typer.Option(
        "--diff",
        metavar="PATH",
        help="Show how the text of a changed file differs from the image's; the node sends it "
        "with its next heartbeat, where the setting drift_diff_paths lets it.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add ``drift`` to ``app``."""
    command(
        app,
        "drift",
        "bootserve drift",
        "bootserve drift --rack r12",
        "bootserve drift r12-n01",
        "bootserve drift r12-n01 --diff /etc/ssh/sshd_config",
        panel="Look",
    )(drift)


def drift(
    session: Session, node: OptionalNode = "", *, rack: Rack = "", all: All = False, diff: Diff = ""
) -> None:
    """Show which nodes are stale, altered or silent. Exits with 2 when any is.

    A stale node runs another generation than it would boot now. An altered one has files, mounts,
    kernel modules or settings that it did not have when it came up. A silent one is expected, and
    not heard from. Exit codes: 0 none; 1 failed; 2 there is drift; 3 the server cannot be reached.
    """
    if diff and not node:
        raise typer.BadParameter("it needs a NODE", param_hint="--diff")
    if node and (rack or all):
        raise typer.BadParameter("it goes without NODE", param_hint="--rack" if rack else "--all")
    if diff:
        session.show(_fetch(session, node, diff), _render_diff)
        return
    if node:
        shown = session.call("GET", f"/nodes/{segment(node)}/drift", NodeDriftOut)
        session.show(shown, _render_node)
        drifted = bool(shown.value.states)
    else:
        query = {"rack": rack, "all": "true" if all else "false"}
        listed = session.pages("/drift", DriftList, query=query)
        session.show(listed, _render_list)
        drifted = any(one.states for one in listed.value.nodes)
    if drifted:
        raise typer.Exit(DRIFT)


def _fetch(session: Session, node: str, path: str) -> Reply[DiffOut]:
    where, told, end = f"/nodes/{segment(node)}/drift/diff", False, 0.0
    while True:
        reply = session.call("POST", where, DiffOut, body={"file": path})
        if reply.value.sent:
            return reply
        if not told:
            due = reply.value.due
            end = time.monotonic() + max(due, 5.0) * PATIENCE + 15
            session.out.note(f"{node} is asked for it; its next heartbeat is due in {due:.0f} s.")
            told = True
        if time.monotonic() > end:
            raise Unavailable(
                f"{node} has not sent {path}", hint="Is it silent? See 'bootserve drift'."
            )
        time.sleep(1)


def _render_diff(out: Output, file: DiffOut) -> None:
    if file.kept_back:
        out.note(f"{file.node} has no text of {file.path} that it may send.")
    elif file.binary:
        out.note(f"{file.path} is no text.")
    else:
        old, new = (
            [] if text is None else clean(text, keep="\n\t").splitlines()
            for text in (file.image, file.now)
        )
        names = (f"image{file.path}", f"{file.node}{file.path}")
        for line in unified_diff(old, new, *names, lineterm=""):
            out.line(line)
    if file.cut:
        out.note("Only the first 64 KiB of each were compared.")


def _render_list(out: Output, found: DriftList) -> None:
    counted = f"{found.reporting} nodes report, {found.never_reported} never did."
    if not found.nodes:
        out.note(f"No drift. {counted}")
        return
    out.table(
        ["NODE", "RACK", "RUNS", "DRIFT", "WHY", "LAST SEEN"],
        [
            [
                one.node,
                one.rack,
                one.running.generation if one.running else "",
                Text(", ".join(one.states) or "none", "red" if one.states else "green"),
                "; ".join(one.reasons),
                local_time(one.running.last_seen if one.running else None),
            ]
            for one in found.nodes
        ],
    )
    out.note(counted)


def _render_node(out: Output, one: NodeDriftOut) -> None:
    if one.running is None:
        out.note(f"{one.node} has never reported.")
        return
    out.pairs([("Drift", ", ".join(one.states) or "none"), *_why(one), *_runs(one.running)])
    if one.entries:
        out.line("")
        out.table(
            ["WHAT", "PATH", "KIND", "MODE", "OWNER", "SIZE", "CHANGED", "DETAIL"],
            [_cells(entry) for entry in one.entries],
        )
    if one.altered > len(one.entries):
        out.note(f"{one.altered - len(one.entries)} more are not listed.")
    if one.history:
        out.line("")
        out.table(
            ["WHEN", "BECAME", "PATHS", "BOOT"],
            [
                [
                    local_time(change.at),
                    change.state,
                    _some(change.paths, change.count),
                    change.boot,
                ]
                for change in one.history
            ],
        )


def _why(one: DriftOut) -> list[tuple[str, object]]:
    return [("Why", Text(clean(reason), "red")) for reason in one.reasons]


def _runs(running: RunningOut) -> list[tuple[str, object]]:
    offset = running.clock_offset
    rows: list[tuple[str, object]] = [
        ("Runs", running.generation),
        ("Root", running.root),
        ("Boot", running.boot),
        ("Up since", local_time(running.up_since)),
        ("Last seen", local_time(running.last_seen)),
        ("Clock", "" if offset is None else f"{offset:+.1f} s from the server's"),
    ]
    if running.drift_since is not None:
        rows.append(("Altered since", local_time(running.drift_since)))
    if not running.heartbeats:
        rows.append(("Heartbeats", "none: its image has no agent"))
    if running.rebooting:
        rows.append(("Reboots", running.rebooting))
    return rows


def _cells(entry: EntryOut) -> list[object]:
    return [
        entry.kind,
        entry.path,
        entry.type,
        entry.mode,
        entry.owner,
        human_size(entry.size) if entry.type == "file" or entry.size else "",
        local_time(entry.mtime or None),
        entry.detail,
    ]


def _some(paths: list[str], count: int) -> str:
    shown = ", ".join(paths[:3])
    return f"{shown} and {count - 3} more" if count > 3 else shown
