"""Commands on roles and racks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bootserve.cli import complete
from bootserve.cli.changes import said, show_commit
from bootserve.cli.client import segment
from bootserve.cli.command import command, group
from bootserve.cli.options import MessageOption, RackArg, RoleArg
from bootserve.cli.output import Output
from bootserve.cli.session import Session
from bootserve.servers.admin.schemas import CommitOut, RackList, RoleList

__all__ = ["add_commands"]

PANEL = "Nodes"

Image = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="IMAGE",
        help="The image that nodes of this role run; needed when the role is new.",
        autocompletion=complete.images,
    ),
]
RoleArgs = Annotated[
    str | None,
    typer.Option(
        "--kernel-args",
        metavar="TEXT",
        help="Added to the kernel command line, before the rack's and the node's.",
    ),
]
RackArgs = Annotated[
    str,
    typer.Option(
        "--kernel-args",
        metavar="TEXT",
        help="Added to the kernel command line, between the role's and the node's; '' for none.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add ``role …`` and ``rack …`` to ``app``."""
    role = group(app, "role", "What kinds of node there are, and the image of each.", PANEL)
    command(
        role,
        "set",
        "bootserve role set compute --image k8s-node",
        "bootserve role set ceph-osd --image ceph --kernel-args 'intel_iommu=on'",
    )(set_role)
    command(role, "list", "bootserve role list")(list_roles)
    command(role, "rm", "bootserve role rm compute -m 'no longer used'")(remove_role)
    rack = group(app, "rack", "Racks and their kernel arguments.", PANEL)
    command(rack, "set", "bootserve rack set r12 --kernel-args 'console=ttyS1,115200'")(set_rack)
    command(rack, "list", "bootserve rack list")(list_racks)


def set_role(
    session: Session,
    name: RoleArg,
    *,
    image: Image = None,
    kernel_args: RoleArgs = None,
    message: MessageOption = "",
) -> None:
    """Create or change a role. What is not named stays as it is."""
    if image is None and kernel_args is None:
        raise typer.BadParameter("name --image or --kernel-args", param_hint="options")
    given: dict[str, Any] = {"image": image, "kernel_args": kernel_args, "message": message}
    reply = session.call("PUT", f"/roles/{segment(name)}", CommitOut, body=given)
    show_commit(session, reply, said(f"Role {name} is set"))


def list_roles(session: Session) -> None:
    """List roles, their images and how many nodes have them."""

    def render(out: Output, answer: RoleList) -> None:
        if not answer.roles:
            out.note("No roles. Create one with 'bootserve role set'.")
            return
        rows = [[one.name, one.image, one.nodes, one.kernel_args] for one in answer.roles]
        out.table(["ROLE", "IMAGE", ">NODES", "KERNEL ARGUMENTS"], rows)

    session.show(session.pages("/roles", RoleList), render)


def remove_role(session: Session, name: RoleArg, *, message: MessageOption = "") -> None:
    """Remove a role; refused while a node has it."""
    path = f"/roles/{segment(name)}"
    reply = session.call("DELETE", path, CommitOut, query={"message": message})
    show_commit(session, reply, said(f"Role {name} is removed"))


def set_rack(
    session: Session, name: RackArg, *, kernel_args: RackArgs, message: MessageOption = ""
) -> None:
    """Set a rack's kernel arguments. A rack needs no making: it exists by its nodes."""
    body = {"kernel_args": kernel_args, "message": message}
    reply = session.call("PUT", f"/racks/{segment(name)}", CommitOut, body=body)
    show_commit(session, reply, said(f"Rack {name} is set"))


def list_racks(session: Session) -> None:
    """List racks and how many nodes are in each."""

    def render(out: Output, answer: RackList) -> None:
        if not answer.racks:
            out.note("No racks: no node names one.")
            return
        rows = [[one.name, one.nodes, one.kernel_args] for one in answer.racks]
        out.table(["RACK", ">NODES", "KERNEL ARGUMENTS"], rows)

    session.show(session.pages("/racks", RackList), render)
