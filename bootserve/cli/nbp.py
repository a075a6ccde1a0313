"""Commands on NBPs: network boot programs that an admin adds and pins."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from bootserve.cli import complete
from bootserve.cli.changes import said, show_commit
from bootserve.cli.client import Api, Reply, segment
from bootserve.cli.command import command, group
from bootserve.cli.options import ReasonOption, reason
from bootserve.cli.output import Output, human_size, local_time
from bootserve.cli.session import Session
from bootserve.cli.transfer import upload_file
from bootserve.errors import InvalidInput
from bootserve.model.desired import Scope
from bootserve.model.generation import Artifact
from bootserve.model.nbp import MAX_NBP, NbpArch, check_nbp_name, check_program
from bootserve.servers.admin.schemas import CommitOut
from bootserve.servers.admin.schemas_nbp import NbpAdded, NbpList, NbpOut

__all__ = ["add_commands"]

PANEL = "Images"

NbpArg = Annotated[
    str, typer.Argument(metavar="NBP", help="An NBP's name.", autocompletion=complete.nbps)
]
NbpScopeArg = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE", help="node/NAME, rack/NAME or site.", autocompletion=complete.scopes
    ),
]
FileArg = Annotated[Path, typer.Argument(metavar="FILE", help="The program: an iPXE build.")]
ForArch = Annotated[
    NbpArch, typer.Option("--arch", help="The firmware that it is built for: bios, x64 or arm64.")
]
AnyArch = Annotated[
    NbpArch | None,
    typer.Option("--arch", help="Which firmware's, when the scope has several pins."),
]
NameOption = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Its name. Default: the file's.")
]
Removed = Annotated[bool, typer.Option("--removed", help="List those too that were removed.")]


def add_commands(app: typer.Typer) -> None:
    """Add ``nbp …`` to ``app``."""
    nbp = group(app, "nbp", "Add, list, pin and remove network boot programs.", PANEL)
    command(
        nbp,
        "add",
        "bootserve nbp add bin-x86_64-efi/snponly.efi --arch x64 --name snponly-1.21.efi",
        "bootserve nbp add undionly.kpxe --arch bios",
    )(add)
    command(nbp, "list", "bootserve nbp list")(list_nbps)
    command(nbp, "rm", "bootserve nbp rm snponly-1.21.efi")(remove)
    command(
        nbp,
        "pin",
        "bootserve nbp pin rack/r12 snponly-1.21.efi -m 'ipxe.efi hangs on these NICs'",
    )(pin)
    command(nbp, "unpin", "bootserve nbp unpin rack/r12 --arch x64 -m 'as the site'")(unpin)


def add(session: Session, file: FileArg, *, arch: ForArch, name: NameOption = None) -> None:
    """Add an NBP, by a name that stands for this file for ever. It is loaded where it is pinned."""
    wanted = check_nbp_name(name or file.name, arch)
    data = _read(file)
    check_program(data, arch)
    digest = hashlib.sha256(data).hexdigest()
    body = {"name": wanted, "arch": arch.value, "digest": digest}

    async def send(api: Api) -> Reply[NbpAdded]:
        artifact = Artifact(sha256=digest, size=len(data))
        await upload_file(api, file, artifact)
        return await api.call("POST", "/nbps", NbpAdded, body=body)

    session.show(session.run(send), _added)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_NBP + 1)
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from None
    if not 0 < len(data) <= MAX_NBP:
        raise InvalidInput(f"{file}: an NBP has 1 to {MAX_NBP} bytes")
    return data


def _added(out: Output, done: NbpAdded) -> None:
    one = done.nbp
    if done.created:
        size = human_size(one.size)
        out.line(f"{one.name} is added, {size}, for {one.arch}. Pin it with 'bootserve nbp pin'.")
    else:
        out.line(f"{one.name} is there already.")


def list_nbps(session: Session, *, removed: Removed = False) -> None:
    """List NBPs that were added, and where each is pinned."""
    query = {"removed": "true" if removed else "false"}
    session.show(session.pages("/nbps", NbpList, query=query), _list)


def _list(out: Output, answer: NbpList) -> None:
    if not answer.nbps:
        out.note("No NBPs but those in nbp_dir. Add one with 'bootserve nbp add'.")
        return
    pinned = {one.name: [pin for pin in answer.pins if pin.nbp == one.name] for one in answer.nbps}
    out.table(
        ["NBP", "ARCH", ">SIZE", "SHA256", "ADDED", "BY", "PINNED AT", ">NODES"],
        [
            [
                one.name + _state(one),
                one.arch,
                human_size(one.size),
                one.digest[:16],
                local_time(one.added_at),
                one.added_by,
                " ".join(pin.scope for pin in pinned[one.name]),
                sum(pin.nodes for pin in pinned[one.name]),
            ]
            for one in answer.nbps
        ],
    )


def _state(one: NbpOut) -> str:
    if one.removed_at is not None:
        return " (removed)"
    return "" if one.stored else " (MISSING)"


def remove(session: Session, name: NbpArg) -> None:
    """Remove an NBP that no pin of the last 10 revisions names."""
    reply = session.call("DELETE", f"/nbps/{segment(name)}", NbpOut)
    session.show(reply, lambda out, one: out.line(f"{one.name} is removed."))


def pin(session: Session, scope: NbpScopeArg, name: NbpArg, *, message: ReasonOption) -> None:
    """Pin a scope to an NBP: its nodes' firmware loads it from their next boot on.

    It is offered to the firmware that it is built for. Node beats rack beats site.
    """
    body = {"scope": str(Scope.parse(scope)), "nbp": name, "message": reason(message)}
    reply = session.call("PUT", "/nbp-pins", CommitOut, body=body)
    show_commit(session, reply, said(f"{scope} loads {name} from the next boot on"))


def unpin(
    session: Session, scope: NbpScopeArg, *, arch: AnyArch = None, message: ReasonOption
) -> None:
    """Remove the pin of an NBP: the next less specific one applies, or the default."""
    query = {"scope": str(Scope.parse(scope)), "message": reason(message)}
    if arch is not None:
        query["arch"] = arch.value
    reply = session.call("DELETE", "/nbp-pins", CommitOut, query=query)
    show_commit(session, reply, said(f"{scope} has no NBP of its own any more"))
