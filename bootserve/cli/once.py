"""Commands on what a node does once: its next boot only, and a release from a loop's wait."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bootserve.cli import complete
from bootserve.cli.client import segment
from bootserve.cli.command import command
from bootserve.cli.options import NodeArg
from bootserve.cli.output import Output, local_time
from bootserve.cli.session import Session
from bootserve.errors import InvalidInput
from bootserve.model.generation import GenerationRef
from bootserve.model.once import MAX_SCRIPT, check_script
from bootserve.servers.admin.schemas_live import OnceList, OnceOut, ReleaseOut

__all__ = ["add_commands", "once_text"]

WhatArg = Annotated[
    str | None,
    typer.Argument(
        metavar="WHAT",
        help="local, IMAGE@N, or script with a FILE. Without it, what was set is listed.",
        autocompletion=complete.once_actions,
    ),
]
FileArg = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="The iPXE script, with WHAT script.")
]
Cancel = Annotated[bool, typer.Option("--cancel", help="Drop what waits for the next boot.")]


def add_commands(node: typer.Typer) -> None:
    """Add ``boot-once`` and ``release`` to the group ``node``."""
    command(
        node,
        "boot-once",
        "bootserve node boot-once r12-n01 local",
        "bootserve node boot-once r12-n01 firmware-update@3",
        "bootserve node boot-once r12-n01 script memtest.ipxe",
        "bootserve node boot-once r12-n01 --cancel",
    )(boot_once)
    command(node, "release", "bootserve node release r12-n01")(release)


def boot_once(
    session: Session,
    name: NodeArg,
    what: WhatArg = None,
    file: FileArg = None,
    *,
    cancel: Cancel = False,
) -> None:
    """Set what a node's next boot only does: its local disk, a generation, or a script.

    It is consumed by the next script that the node fetches; the boot after that follows its pins
    again. What waits is replaced by a new one.
    """
    path = f"/nodes/{segment(name)}/boot-once"
    if cancel:
        if what is not None:
            raise typer.BadParameter("it goes without WHAT", param_hint="--cancel")
        session.show(session.call("DELETE", path, OnceOut), _cancelled)
    elif what is None:
        session.show(session.call("GET", path, OnceList), _list)
    else:
        session.show(session.call("PUT", path, OnceOut, body=_body(what, file)), _set)


def _body(what: str, file: Path | None) -> dict[str, Any]:
    if (what == "script") != (file is not None):
        raise typer.BadParameter("it goes with WHAT script, and with that alone", param_hint="FILE")
    if file is not None:
        return {"action": "script", "script": _script(file)}
    if what == "local":
        return {"action": "local"}
    return {"action": "generation", "generation": str(GenerationRef.parse(what))}


def _script(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_SCRIPT + 1)
        return check_script(data.decode())
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} is not text") from None
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from None


def once_text(once: OnceOut) -> str:
    """Return what is done once, in a word or two."""
    match once.action:
        case "local":
            return "its local disk"
        case "generation":
            return once.generation
        case _:
            return f"a script of {len(once.script.encode())} bytes"


def _set(out: Output, once: OnceOut) -> None:
    out.line(f"The next boot of {once.node}, and that one only, is {once_text(once)}.")


def _cancelled(out: Output, once: OnceOut) -> None:
    out.line(f"{once_text(once)} is cancelled; {once.node} boots what its pins say.")


def _list(out: Output, answer: OnceList) -> None:
    if not answer.history:
        out.note("Nothing was set. Set it with 'bootserve node boot-once NODE WHAT'.")
        return
    out.table(
        ["SET", "BY", "WHAT", "OUTCOME", "WHEN", "BY WHOM", "BOOT"],
        [
            [
                local_time(one.set_at),
                one.set_by,
                once_text(one),
                one.outcome,
                local_time(one.ended_at),
                one.ended_by or " ".join(filter(None, (one.mac, one.address))),
                one.boot,
            ]
            for one in answer.history
        ],
    )


def release(session: Session, name: NodeArg) -> None:
    """Release a node that waits in a loop, or is on its last known good generation.

    It is answered at its next request, and with its pin's generation.
    """
    path = f"/nodes/{segment(name)}/release"
    session.show(session.call("POST", path, ReleaseOut), _released)


def _released(out: Output, answer: ReleaseOut) -> None:
    if answer.waited:
        out.line(f"{answer.node} is released: {answer.waited}.")
    else:
        out.line(f"{answer.node} was not waiting; what had been counted of it is forgotten.")
