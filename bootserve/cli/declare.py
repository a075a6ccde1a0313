"""``plan``, ``apply``, ``export`` and ``schema``: the desired state as a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from bootserve.cli.changes import nodes_boot
from bootserve.cli.client import Problem, Unreachable
from bootserve.cli.command import command, group
from bootserve.cli.options import MessageOption
from bootserve.cli.output import Output, local_time, report_error
from bootserve.cli.planfile import PlanFile, dumped, read_plan, read_text, write_text
from bootserve.cli.session import Session, confirm
from bootserve.core.site.changes import changes_between, changes_from_document
from bootserve.core.site.loading import load_site
from bootserve.core.site.reservations import (
    parse_subnet,
    reservations_of,
    to_dnsmasq,
    to_isc,
    to_kea,
)
from bootserve.core.site.schema import json_schema
from bootserve.core.site.wording import listed
from bootserve.core.site.writing import write_site
from bootserve.errors import BootserveError
from bootserve.model.desired import DesiredState
from bootserve.servers.admin.schemas import CommitOut
from bootserve.servers.admin.schemas_site import ChangesOut, PlanOut, StateOut

__all__ = ["add_commands"]

PANEL = "Site"
CHANGES = 2
MOVED_ON = (409, 412)
_SHOWN = 40

FileOption = Annotated[
    Path,
    typer.Option("--file", "-f", metavar="FILE", help="The site file; - for standard input."),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to this file.")
]


class _Terraform(TyperCommand):
    """A command whose exit code 2 says something, so that a wrong command line exits with 1."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(*args, **kwargs)
        except Exception as error:
            if getattr(error, "exit_code", 0) == CHANGES:
                error.exit_code = 1  # type: ignore[attr-defined]
            raise


def add_commands(app: typer.Typer) -> None:
    """Add ``plan``, ``apply``, ``export`` and ``schema`` to ``app``."""
    command(
        app,
        "plan",
        "bootserve plan -f site.yaml",
        "bootserve plan -f site.yaml -o plan.json",
        panel=PANEL,
        cls=_Terraform,
    )(plan)
    command(
        app,
        "apply",
        "bootserve apply plan.json -m 'rack r12'",
        "bootserve apply -f site.yaml --yes -m 'rack r12'",
        panel=PANEL,
    )(apply)
    command(
        app,
        "export",
        "bootserve export -o site.yaml",
        "bootserve export dnsmasq -o /etc/dnsmasq.d/nodes.conf",
        "bootserve export kea --subnet 10.1.0.0/16 -o reservations.json",
        panel=PANEL,
    )(export)
    schemas = group(app, "schema", "JSON Schemas, for editors.", PANEL)
    command(schemas, "site", "bootserve schema site -o site.schema.json")(schema)


def plan(
    session: Session,
    *,
    file: FileOption,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PLAN", help="Save the plan, for 'apply'."),
    ] = None,
) -> None:
    """Show what applying a site file would change, in terms of nodes. Changes nothing.

    Exits with 0 when nothing would change, with 2 when something would, and with 1 for an error.
    """
    try:
        made = make_plan(session, file)
    except Unreachable as error:
        report_error(str(error), error.hint)
        raise typer.Exit(1) from None
    if output is not None:
        write_text(output, dumped(made))
    if session.out.is_json:
        session.out.json(made.model_dump(mode="json"))
    else:
        _show(session.out, made)
        if output is not None and not made.empty:
            session.out.note(f"Saved; do exactly this with: bootserve apply {output}")
    for warning in made.warnings:
        session.out.warning(warning)
    if not made.empty:
        raise typer.Exit(CHANGES)


def make_plan(session: Session, file: Path) -> PlanFile:
    """Return the plan of the site file; raises InvalidInput, Problem or Unreachable."""
    declared = load_site(read_text(file), str(file))
    base, before = state_of(session)
    changes = changes_between(before, declared.over(before))
    found = PlanFile(base=base, file=str(file), changes=changes.document())
    if changes:
        body = {"base": base, "changes": found.changes}
        said = session.call("POST", "/plan", PlanOut, body=body, patient=True).value
        found.lines = listed(changes, before)
        found.effects = [one.model_dump(mode="json") for one in said.effects]
        found.sentences, found.warnings = said.sentences, said.warnings
    return found


def state_of(session: Session) -> tuple[int, DesiredState]:
    """Return the number of the current revision and its state."""
    shown = session.call("GET", "/state", StateOut, patient=True).value
    document = shown.model_dump(exclude={"revision"})
    return shown.revision, changes_from_document(document).apply(DesiredState())


def _show(out: Output, made: PlanFile) -> None:
    if made.empty:
        out.line(f"Nothing to change: revision {made.base} is as the file says.")
        return
    styles = {"+": "green", "-": "red", "~": "yellow"}
    for line in made.lines[:_SHOWN]:
        out.line(line, style=styles.get(line[:1], ""))
    if len(made.lines) > _SHOWN:
        out.line(f"… and {len(made.lines) - _SHOWN} more; --json has them all")
    out.line("")
    for sentence in made.sentences or ["No node boots anything else than before."]:
        out.line(sentence)
    out.line(f"Planned against revision {made.base}.")


def apply(
    session: Session,
    saved: Annotated[
        Path | None, typer.Argument(metavar="PLAN", help="What 'plan -o' saved.")
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="Plan this site file and apply it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    message: MessageOption = "",
) -> None:
    """Do exactly what was planned, as one revision, or nothing.

    A change that someone made since the plan refuses it, and is shown. With -f, the plan is made
    and shown first, and confirmed on the terminal or by --yes.
    """
    if (saved is None) == (file is None):
        raise typer.BadParameter("give a saved plan, or a site file with -f", param_hint="PLAN")
    made = read_plan(saved) if saved is not None else make_plan(session, file or Path())
    if made.empty:
        _nothing(session, made)
        return
    if saved is None and not session.out.is_json:
        _show(session.out, made)
    for warning in made.warnings if saved is None else ():
        session.out.warning(warning)
    if saved is None and not yes and not _confirmed(session):
        session.out.note("Nothing was changed. Pass --yes, or save the plan and apply that.")
        raise typer.Exit(1)
    _commit(session, made, message)


def _confirmed(session: Session) -> bool:
    return not session.out.is_json and confirm(session.out, "Apply this?")


def _nothing(session: Session, made: PlanFile) -> None:
    if session.out.is_json:
        none = CommitOut(revision=None, nodes_changed=0, warnings=[])
        session.out.json(none.model_dump(mode="json"))
    else:
        _show(session.out, made)


def _commit(session: Session, made: PlanFile, message: str) -> None:
    body = {
        "base": made.base,
        "changes": made.changes,
        "message": message or f"apply {made.file or 'a plan'}"[:1000],
    }
    try:
        reply = session.call("POST", "/apply", CommitOut, body=body, patient=True)
    except Problem as problem:
        if problem.status in MOVED_ON:
            _show_changes(session, made.base, problem)
        raise
    session.show(reply, lambda out, done: out.line(nodes_boot(done, "otherwise")))
    for warning in reply.value.warnings:
        session.out.warning(warning)


def _show_changes(session: Session, base: int, problem: Problem) -> None:
    """Say on stderr what was changed since ``base``, when that is why a plan was refused."""
    query = {"since": base}
    try:
        now = session.call("GET", "/changes", ChangesOut, query=query, patient=True).value
    except BootserveError:  # a viewer of the site may ask; the refusal itself says enough
        return
    if not now.revisions:
        return
    out = session.out
    out.note(f"refused: {problem}. Since the plan was made, against revision {base}:")
    for one in now.revisions:
        out.note(f"  revision {one.number}, {local_time(one.at)}, {one.author}: {one.message}")
    for sentence in now.sentences or ["No node boots anything else for it."]:
        out.note(f"  {sentence}")
    out.note("Nothing was changed. Look at that, and plan again.")
    raise typer.Exit(1)


def schema(session: Session, *, output: OutputOption = None) -> None:
    """Print the JSON Schema of site.yaml, which editors complete and check it by.

    Name it in the file's first line: # yaml-language-server: $schema=site.schema.json
    """
    if output is None:
        session.out.raw(json_schema())
    else:
        write_text(output, json_schema())


class ExportFormat(StrEnum):
    """What the state is written as."""

    SITE = "site"
    KEA = "kea"
    DNSMASQ = "dnsmasq"
    ISC = "isc"


def export(
    session: Session,
    kind: Annotated[
        ExportFormat,
        typer.Argument(
            metavar="FORMAT",
            help="site, the whole state; kea, dnsmasq, isc: host reservations for a DHCP server.",
        ),
    ] = ExportFormat.SITE,
    *,
    subnet: Annotated[
        list[str] | None,
        typer.Option(
            "--subnet",
            metavar="CIDR",
            help="For kea: put the reservations of this subnet into it; repeat it.",
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Print the current state as a site file; applying it changes nothing.

    With kea, dnsmasq or isc, print host reservations for that DHCP server, to include in its
    configuration. An address is the label 'address' of a node, for its second NIC 'address-2'.
    """
    if subnet and kind is not ExportFormat.KEA:
        raise typer.BadParameter("it goes with kea only", param_hint="--subnet")
    subnets = [parse_subnet(text) for text in subnet or ()]
    base, state = state_of(session)
    match kind:
        case ExportFormat.SITE:
            text = write_site(state, comment=f"Revision {base}.")
        case ExportFormat.KEA:
            text = to_kea(reservations_of(state), subnets)
        case ExportFormat.DNSMASQ:
            text = f"# bootserve, revision {base}\n" + to_dnsmasq(reservations_of(state))
        case ExportFormat.ISC:
            text = f"# bootserve, revision {base}\n" + to_isc(reservations_of(state))
    if output is not None:
        write_text(output, text)
    elif session.out.is_json:
        session.out.json({"revision": base, "format": kind, "text": text})
    else:
        session.out.raw(text)
