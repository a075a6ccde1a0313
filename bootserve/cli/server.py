"""Commands on the running server and on what nodes did."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from bootserve.cli import complete
from bootserve.cli.client import given, segment
from bootserve.cli.command import command
from bootserve.cli.explaining import render_explanation
from bootserve.cli.options import NodeArg
from bootserve.cli.output import Output, clean, local_time
from bootserve.cli.session import Session
from bootserve.cli.timeline import show_timeline
from bootserve.servers.admin.schemas_seen import BootList, BootOut, ExplainOut, ScrubOut, StatusOut

__all__ = ["add_commands", "render_phases", "render_status"]

PANEL = "Look"
OPERATE = "Server"

OptionalNode = Annotated[
    str,
    typer.Argument(metavar="NODE", help="Only this node's boots.", autocompletion=complete.nodes),
]


def add_commands(app: typer.Typer) -> None:
    """Add ``status``, ``boots``, ``explain``, ``scrub`` and ``reload`` to ``app``."""
    command(app, "status", "bootserve status", panel=PANEL)(status)
    command(
        app,
        "boots",
        "bootserve boots r12-n01 --limit 5",
        "bootserve boots r12-n01 --timeline",
        panel=PANEL,
    )(boots)
    command(
        app,
        "explain",
        "bootserve explain r12-n01",
        "bootserve explain r12-n01 --script",
        panel=PANEL,
    )(explain)
    command(app, "scrub", "bootserve scrub", panel=OPERATE)(scrub)
    command(app, "reload", "bootserve reload", panel=OPERATE)(reload)


def status(session: Session) -> None:
    """Say how the server is. Exits with 1 when it is not ready."""
    reply = session.call("GET", "/status", StatusOut)
    session.show(reply, render_status)
    if not reply.value.ready:
        raise typer.Exit(1)


def render_status(out: Output, now: StatusOut) -> None:
    """Print the server's state, its problems first."""
    revision = now.revision
    rows: list[tuple[str, object]] = [
        ("State", Text("ready", "green") if now.ready else Text("not ready", "bold red"))
    ]
    rows += [("Problem", Text(problem, "red")) for problem in map(clean, now.problems)]
    rows += [("Degraded", Text(one, "bold yellow")) for one in map(clean, now.degraded)]
    rows += [
        ("Version", now.version),
        ("Running since", local_time(now.started_at)),
        *(("Interface", f"{one.interface}, {one.http_base}") for one in now.segments),
        ("Revision", f"{revision.number}, {local_time(revision.at)}, {revision.author}"),
        ("Nodes", f"{now.nodes}, {now.up} of them up"),
        ("Boots in the last hour", now.boots_last_hour),
        ("Pins", now.pins),
        ("Generations", now.generations),
        ("Unknown machines", f"{now.unknown}; {now.discovered} discovered"),
        ("Journal", _journal(now)),
    ]
    rows += [("Quarantined", digest) for digest in now.quarantined]
    out.pairs(rows)


def _journal(now: StatusOut) -> str:
    text = f"record {now.journal_sequence}, {now.journal_applied} in the database"
    if now.journal_full:
        text += "; FULL"
    if now.journal_lost:
        text += f"; {now.journal_lost} lost"
    return text


def boots(
    session: Session,
    node: OptionalNode = "",
    *,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")
    ] = 20,
    before: Annotated[
        str | None,
        typer.Option("--before", metavar="BOOT", help="Only older ones than this boot's id."),
    ] = None,
    phases: Annotated[
        bool, typer.Option("--phases", help="Show when each phase was seen, in seconds.")
    ] = False,
    timeline: Annotated[
        bool,
        typer.Option(
            "--timeline", help="Show each boot from its first DHCP message on, phase by phase."
        ),
    ] = False,
) -> None:
    """List boots: what ran where, and when."""
    query = given(limit=limit, node=node, before=before)
    reply = session.pages("/boots", BootList, query=query, most=limit)
    if timeline:
        show_timeline(session, reply.value)
        return
    session.show(reply, render_phases if phases else _boots)


def _boots(out: Output, answer: BootList) -> None:
    if not answer.boots:
        out.note("No boots.")
        return
    out.table(
        ["TIME", "NODE", "GENERATION", ">REVISION", "PHASE", ">SECONDS", "RUNS", "IPXE", "BOOT"],
        [
            [
                local_time(one.at),
                one.node,
                one.generation,
                one.revision,
                *_last_phase(one),
                _runs(one),
                one.ipxe.partition(":")[0] or "?",
                one.id,
            ]
            for one in answer.boots
        ],
    )


def _last_phase(boot: BootOut) -> tuple[str, str]:
    if not boot.phases:
        return "", ""
    last = max(boot.phases, key=lambda phase: phase.at)
    return last.phase, f"{last.at - boot.at:.1f}"


def _runs(boot: BootOut) -> str:
    """Return what the node says it runs, when that is not the generation it was given."""
    said = boot.reported_generation
    if not said:
        return "?"
    return "as pinned" if said == boot.generation else said


def render_phases(out: Output, answer: BootList) -> None:
    """Print each boot with its phases, in seconds since its script was served."""
    for boot in answer.boots:
        out.line(
            f"{local_time(boot.at)}  {boot.node}  {boot.generation}  revision {boot.revision}"
            f"  {boot.address}  {boot.id}",
            style="bold",
        )
        out.table(
            [">  SECONDS", "PHASE", "DETAIL"],
            [
                [f"{phase.at - boot.at:.2f}", phase.phase, out.block(phase.detail)]
                for phase in sorted(boot.phases, key=lambda phase: phase.at)
            ],
        )


def explain(
    session: Session,
    node: NodeArg,
    *,
    script: Annotated[
        bool, typer.Option("--script", help="Print the script alone, as the node would get it.")
    ] = False,
) -> None:
    """Explain a node's next boot: which pin applies, which lost to it and why, and its script."""
    reply = session.call("GET", f"/nodes/{segment(node)}/explain", ExplainOut)
    if script and not session.out.is_json:
        session.out.raw(reply.value.script)
    else:
        session.show(reply, render_explanation)


def scrub(session: Session) -> None:
    """Read every artifact again; one that fails is quarantined. Exits with 1 when one did."""
    reply = session.call("POST", "/scrub", ScrubOut, patient=True)
    session.show(reply, _scrubbed)
    if reply.value.quarantined:
        raise typer.Exit(1)


def _scrubbed(out: Output, found: ScrubOut) -> None:
    out.line(f"{found.checked} artifacts read, {len(found.quarantined)} quarantined.")
    for digest in found.quarantined:
        out.line(f"quarantined: {digest}", style="red")


def reload(session: Session) -> None:
    """Read the iPXE templates, the quirks file and the admin API's TLS certificate again.

    When a template does not render, a quirk is malformed or the certificate cannot be used, that is
    said and nothing changes.
    """
    reply = session.call("POST", "/reload", StatusOut)
    session.show(
        reply, lambda out, _: out.line("Templates, quirks and certificate are read again.")
    )
