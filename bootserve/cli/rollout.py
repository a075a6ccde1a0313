"""Commands on rollouts: a scope's nodes taken to a generation in stages."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bootserve.cli import complete
from bootserve.cli.client import given
from bootserve.cli.command import command, group
from bootserve.cli.options import GenerationArg
from bootserve.cli.rollout_show import (
    render_list,
    render_members,
    render_rollout,
    render_started,
    said,
    watch,
)
from bootserve.cli.session import Session, confirm
from bootserve.core.rollout_plan import parse_share
from bootserve.errors import Conflict, NotFound
from bootserve.model.desired import Scope
from bootserve.model.duration import parse_duration
from bootserve.model.generation import GenerationRef
from bootserve.model.reboot import RebootMethod
from bootserve.model.rollout import MemberState, StageFailure
from bootserve.servers.admin.schemas_rollout import (
    MemberList,
    RolloutList,
    RolloutOut,
    RolloutShown,
    RolloutStarted,
)

__all__ = ["add_commands"]

ScopeArg = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE",
        help="rack/NAME, role/NAME, site or node/NAME.",
        autocompletion=complete.scopes,
    ),
]
NumberArg = Annotated[
    int | None,
    typer.Argument(
        metavar="ID",
        min=1,
        help="The rollout's number. Default: the one that is under way.",
        autocompletion=complete.rollouts,
    ),
]
Stages = Annotated[
    str,
    typer.Option(
        "--stages",
        metavar="LIST",
        help="How many nodes have it after each stage: numbers or shares of the scope's nodes.",
    ),
]
Unavailable = Annotated[
    str,
    typer.Option(
        "--max-unavailable",
        metavar="N",
        help="So many nodes, or such a share of them, are made to reboot at once.",
    ),
]
Soak = Annotated[
    str,
    typer.Option("--soak", metavar="TIME", help="How long a node has to stay up to be done."),
]
Success = Annotated[
    str,
    typer.Option("--success", metavar="SHARE", help="How many of a stage's nodes have to be done."),
]
Reboot = Annotated[
    RebootMethod,
    typer.Option(
        "--reboot",
        help="Who reboots the nodes: none waits for you to do it; agent asks the node; redfish its"
        " BMC; hook runs your command.",
    ),
]
Failure = Annotated[
    StageFailure,
    typer.Option("--on-failure", help="What a failed stage does with its nodes' pins."),
]
StageTimeout = Annotated[
    str,
    typer.Option(
        "--stage-timeout", metavar="TIME", help="A stage that takes longer fails; 0 never."
    ),
]
NodeTimeout = Annotated[
    str,
    typer.Option(
        "--node-timeout",
        metavar="TIME",
        help="A node that was made to reboot and is not up by then fails; 0 never.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show stages and who is left out; begin nothing.")
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")]
StateOption = Annotated[
    MemberState | None, typer.Option("--state", help="Only nodes in this state.")
]
Keep = Annotated[
    bool,
    typer.Option("--keep-pins", help="Leave the pins that it has set; without, they are put back."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def add_commands(app: typer.Typer) -> None:
    """Add the group ``rollout`` to ``app``."""
    help = "Take nodes to a generation in stages, watch it, and end it well."
    rollout = group(app, "rollout", help, "Pins")
    command(
        rollout,
        "start",
        "bootserve rollout start rack/r12 k8s-node@41 --stages '1, 10%, 50%, 100%'"
        " --max-unavailable 2 --soak 10m --success 95% --reboot agent",
        "bootserve rollout start site k8s-node@41 --dry-run",
    )(start)
    command(rollout, "status", "bootserve rollout status", "bootserve rollout status -w 3")(status)
    command(rollout, "nodes", "bootserve rollout nodes 3 --state failed")(nodes)
    command(rollout, "list", "bootserve rollout list")(list_all)
    command(rollout, "pause", "bootserve rollout pause")(pause)
    command(rollout, "resume", "bootserve rollout resume")(resume)
    command(rollout, "retry", "bootserve rollout retry 3")(retry)
    command(rollout, "abort", "bootserve rollout abort", "bootserve rollout abort 3 --keep-pins")(
        abort
    )


def start(
    session: Session,
    scope: ScopeArg,
    generation: GenerationArg,
    *,
    stages: Stages = "1, 10%, 50%, 100%",
    max_unavailable: Unavailable = "1",
    soak: Soak = "10m",
    success: Success = "95%",
    reboot: Reboot = RebootMethod.NONE,
    on_failure: Failure = StageFailure.ROLLBACK,
    stage_timeout: StageTimeout = "0",
    node_timeout: NodeTimeout = "15m",
    dry_run: DryRun = False,
    watch: Watch = False,
) -> None:
    """Begin a rollout: the scope's nodes get a generation stage by stage, each by a revision.

    It takes the nodes that a pin of the scope would decide for. A node is done when it has
    reported the generation's own root and stayed up for the soak time. A stage with more failures
    than --success allows fails: the rollout stops, and its nodes' pins are put back.
    """
    body: dict[str, Any] = {
        "scope": str(Scope.parse(scope)),
        "generation": str(GenerationRef.parse(generation)),
        "stages": stages,
        "max_unavailable": max_unavailable,
        "soak": parse_duration(soak),
        "success": parse_share(success),
        "reboot": reboot,
        "on_failure": on_failure,
        "stage_timeout": parse_duration(stage_timeout),
        "node_timeout": parse_duration(node_timeout),
        "dry_run": dry_run,
    }
    reply = session.call("POST", "/rollouts", RolloutStarted, body=body)
    if watch and not dry_run:
        _watch(session, reply.value.number)
    else:
        session.show(reply, render_started)


def status(session: Session, number: NumberArg = None, *, watch: Watch = False) -> None:
    """Show a rollout: its stages, the nodes that are under way or failed, and its story.

    With --watch it is followed to its end; then the exit code is 0 if it is done, and 1 if it
    failed or was aborted.
    """
    wanted = number or _newest(session)
    if watch:
        _watch(session, wanted)
    else:
        session.show(session.call("GET", f"/rollouts/{wanted}", RolloutShown), render_rollout)


def nodes(session: Session, number: NumberArg = None, *, state: StateOption = None) -> None:
    """List a rollout's nodes."""
    path = f"/rollouts/{number or _newest(session)}/nodes"
    query = given(state=state)
    session.show(session.pages(path, MemberList, query=query), render_members)


def list_all(
    session: Session,
    *,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")
    ] = 20,
) -> None:
    """List rollouts, the newest first."""
    session.show(session.pages("/rollouts", RolloutList, most=limit), render_list)


def pause(session: Session, number: NumberArg = None) -> None:
    """Ask no more nodes to reboot and enter no stage; nodes under way are seen through."""
    _order(session, number, "pause")


def resume(session: Session, number: NumberArg = None) -> None:
    """Go on with a paused rollout."""
    _order(session, number, "resume")


def retry(session: Session, number: NumberArg = None) -> None:
    """Try a failed stage again, or while it runs the stage's failed nodes."""
    _order(session, number, "retry")


def abort(
    session: Session, number: NumberArg = None, *, keep_pins: Keep = False, yes: Yes = False
) -> None:
    """End a rollout for good; the pins that it has set are put back in one revision."""
    wanted = number or _one_open(session)
    if not yes and session.out.terminal and not session.out.is_json:
        what = "and leave its pins" if keep_pins else "and put its pins back"
        if not confirm(session.out, f"Abort rollout {wanted} {what}?"):
            session.out.note("Nothing was changed. Pass --yes to abort without being asked.")
            raise typer.Exit(1)
    _order(session, wanted, "abort", {"keep_pins": keep_pins})


def _order(
    session: Session, number: int | None, verb: str, body: dict[str, Any] | None = None
) -> None:
    wanted = number or _one_open(session)
    reply = session.call("POST", f"/rollouts/{wanted}/{verb}", RolloutOut, body=body or {})
    session.show(reply, lambda out, found: out.line(said(found)))


def _newest(session: Session) -> int:
    """Return the rollout that holds nodes, else the newest; raises NotFound."""
    found = session.call("GET", "/rollouts", RolloutList).value.rollouts
    if not found:
        raise NotFound("there was no rollout yet", hint="See 'bootserve rollout start --help'.")
    return next((one.number for one in found if one.holds_nodes), found[0].number)


def _one_open(session: Session) -> int:
    """Return the one rollout that holds nodes; raises NotFound and Conflict."""
    found = session.call("GET", "/rollouts", RolloutList).value.rollouts
    numbers = [one.number for one in found if one.holds_nodes]
    if not numbers:
        raise NotFound("no rollout is under way", hint="See 'bootserve rollout list'.")
    if len(numbers) > 1:
        which = ", ".join(str(number) for number in sorted(numbers))
        raise Conflict(f"rollouts {which} are under way", hint="Name one of them.")
    return numbers[0]


def _watch(session: Session, number: int) -> None:
    if not watch(session, number):
        raise typer.Exit(1)
