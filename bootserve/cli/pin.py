"""Commands on pins and revisions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bootserve.cli import complete
from bootserve.cli.changes import nodes_boot, show_commit
from bootserve.cli.client import given
from bootserve.cli.command import command
from bootserve.cli.options import GenerationArg, ReasonOption, reason
from bootserve.cli.output import Output, local_time
from bootserve.cli.session import Session, confirm
from bootserve.model.desired import Scope
from bootserve.model.generation import GenerationRef
from bootserve.servers.admin.schemas import CommitOut, PinList, RevisionList

__all__ = ["add_commands"]

PANEL = "Pins"

ScopeArg = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE",
        help="node/NAME, rack/NAME, role/NAME or site.",
        autocompletion=complete.scopes,
    ),
]
ImageArg = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="Which image's pin, when the scope has several.",
        autocompletion=complete.images,
    ),
]
ChangeRole = Annotated[
    str,
    typer.Option(
        "--change-role",
        metavar="ROLE",
        help="Give the node of a node pin this role in the same revision.",
        autocompletion=complete.roles,
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")]


def add_commands(app: typer.Typer) -> None:
    """Add ``pin``, ``unpin``, ``pins``, ``rollback`` and ``revisions`` to ``app``."""
    command(
        app,
        "pin",
        "bootserve pin rack/r12 k8s-node@41 -m 'roll out 41 to the first rack'",
        "bootserve pin node/r12-n01 ceph@7 --change-role ceph-osd -m 'now an OSD host'",
        panel=PANEL,
    )(pin)
    command(app, "unpin", "bootserve unpin rack/r12 k8s-node -m 'as the site'", panel=PANEL)(unpin)
    command(app, "pins", "bootserve pins", panel=PANEL)(pins)
    command(
        app,
        "rollback",
        "bootserve rollback 11 --dry-run",
        "bootserve rollback 11 -m '41 loses its NICs'",
        panel=PANEL,
    )(rollback)
    command(app, "revisions", "bootserve revisions --limit 10", panel=PANEL)(revisions)


def pin(
    session: Session,
    scope: ScopeArg,
    generation: GenerationArg,
    *,
    message: ReasonOption,
    change_role: ChangeRole = "",
) -> None:
    """Pin a scope to a generation: nodes boot it from their next boot on.

    A pin applies to the nodes of its scope whose role names the pinned image. Where several apply,
    node beats rack beats role beats site.
    """
    body = {
        "scope": str(Scope.parse(scope)),
        "generation": str(GenerationRef.parse(generation)),
        "message": reason(message),
        "change_role": change_role,
    }
    reply = session.call("PUT", "/pins", CommitOut, body=body)
    show_commit(session, reply, lambda commit: nodes_boot(commit, generation))


def unpin(
    session: Session, scope: ScopeArg, image: ImageArg = "", *, message: ReasonOption
) -> None:
    """Remove a pin: the next less specific one applies, and without any the nodes hold."""
    query = {"scope": str(Scope.parse(scope)), "image": image, "message": reason(message)}
    reply = session.call("DELETE", "/pins", CommitOut, query=query)
    show_commit(session, reply, lambda commit: nodes_boot(commit, "otherwise"))


def pins(session: Session) -> None:
    """List pins, and for how many nodes each decides."""

    def render(out: Output, answer: PinList) -> None:
        if not answer.pins:
            out.note("No pins, so nodes hold. Set one with 'bootserve pin'.")
            return
        rows = [[one.scope, one.generation, one.nodes] for one in answer.pins]
        out.table(["SCOPE", "GENERATION", ">NODES"], rows)

    session.show(session.pages("/pins", PinList), render)


def rollback(
    session: Session,
    revision: Annotated[
        int, typer.Argument(metavar="REVISION", min=0, help="The revision to go back to.")
    ],
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Restore nodes, roles and racks too, not pins alone.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what cannot be restored and change nothing.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Go on although not all can be restored.")
    ] = False,
    message: ReasonOption = "",
) -> None:
    """Go back: a new revision whose pins equal an old one's.

    What cannot be restored is listed first. With such losses the command asks before it goes on;
    where it cannot ask (no terminal, or --json) it needs --partial.
    """
    if not dry_run:
        reason(message)
    newest = session.call("GET", "/revisions", RevisionList, query={"limit": 1}).value.revisions
    # What was listed is what is done: a change in between refuses the rollback.
    body: dict[str, Any] = {"to": revision, "all": everything, "message": message}
    base = newest[0].number if newest else None
    plan = session.call("POST", "/rollback", CommitOut, body={**body, "dry_run": True}, base=base)
    losses = plan.value.unrestorable
    for loss in losses:
        session.out.note(f"cannot be restored: {loss}")
    if dry_run:
        session.show(plan, lambda out, _: _dry(out, revision, len(losses)))
        return
    if losses and not partial and not _accepted(session, len(losses)):
        session.out.note("Nothing was changed. Pass --partial to restore the rest.")
        raise typer.Exit(1)
    body["partial"] = bool(losses)
    done = session.call("POST", "/rollback", CommitOut, body=body, base=base)
    show_commit(session, done, lambda commit: nodes_boot(commit, "otherwise"))


def _dry(out: Output, revision: int, losses: int) -> None:
    if losses:
        out.line(f"Revision {revision} can be restored but for {losses} of its pins.")
    else:
        out.line(f"Revision {revision} can be restored whole.")


def _accepted(session: Session, losses: int) -> bool:
    if session.out.is_json:
        return False
    return confirm(session.out, f"Roll back without {'these' if losses > 1 else 'this'}?")


def revisions(
    session: Session,
    *,
    limit: Limit = 50,
    before: Annotated[
        int | None, typer.Option("--before", metavar="REVISION", help="Only older ones than this.")
    ] = None,
) -> None:
    """List revisions: who changed the desired state, when and why."""
    query = given(limit=limit, before=before)

    def render(out: Output, answer: RevisionList) -> None:
        rows = [
            [one.number, local_time(one.at), one.author, one.message] for one in answer.revisions
        ]
        out.table([">REVISION", "TIME", "AUTHOR", "MESSAGE"], rows)

    session.show(session.pages("/revisions", RevisionList, query=query, most=limit), render)
