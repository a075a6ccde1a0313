"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated, TypedDict

import typer

from bootserve.cli import complete
from bootserve.model.desired import BootFrom
from bootserve.model.names import Arch
from bootserve.model.shape import ShapeSetting

__all__ = [
    "ArchOption",
    "BootOption",
    "GenerationArg",
    "ImageOption",
    "KernelArgsOption",
    "LabelOption",
    "MacArg",
    "MacOption",
    "MessageOption",
    "NbpOption",
    "NodeArg",
    "NodeOptions",
    "RackArg",
    "RackOption",
    "ReasonOption",
    "RoleArg",
    "RoleOption",
    "ShapeOption",
    "labels_of",
    "reason",
]

NodeArg = Annotated[
    str, typer.Argument(metavar="NODE", help="A node's name.", autocompletion=complete.nodes)
]
RoleArg = Annotated[
    str, typer.Argument(metavar="ROLE", help="A role's name.", autocompletion=complete.roles)
]
RackArg = Annotated[
    str, typer.Argument(metavar="RACK", help="A rack's name.", autocompletion=complete.racks)
]
GenerationArg = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE@N",
        help="A generation: k8s-node@41.",
        autocompletion=complete.generations,
    ),
]
MacArg = Annotated[
    str,
    typer.Argument(
        metavar="MAC", help="A MAC address, in any usual spelling.", autocompletion=complete.macs
    ),
]
MessageOption = Annotated[
    str, typer.Option("--message", "-m", metavar="TEXT", help="Why; kept with the revision.")
]
ReasonOption = Annotated[
    str,
    typer.Option(
        "--message", "-m", metavar="TEXT", help="Why, for whoever reads the record; needed."
    ),
]
MacOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mac",
        metavar="MAC",
        help="A NIC's MAC address; repeat it for each NIC. Those given replace all there were.",
    ),
]
RackOption = Annotated[
    str | None,
    typer.Option("--rack", metavar="RACK", help="The rack.", autocompletion=complete.racks),
]
RoleOption = Annotated[
    str | None,
    typer.Option(
        "--role",
        metavar="ROLE",
        help="The role, which names the image.",
        autocompletion=complete.roles,
    ),
]
ArchOption = Annotated[
    Arch | None, typer.Option("--arch", help="The architecture; a new node's is amd64.")
]
ImageOption = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="IMAGE",
        help="An image in place of the role's; '' goes back to the role's.",
        autocompletion=complete.images,
    ),
]
KernelArgsOption = Annotated[
    str | None,
    typer.Option(
        "--kernel-args",
        metavar="TEXT",
        help="Added to the kernel command line, after the role's and the rack's.",
    ),
]
NbpOption = Annotated[
    str | None,
    typer.Option(
        "--nbp",
        metavar="FILE",
        help="Another boot program from nbp_dir: snponly.efi; '' goes back to the default.",
    ),
]
ShapeOption = Annotated[
    ShapeSetting | None,
    typer.Option(
        "--shape",
        help="Shape of the offer to its UEFI PXE firmware: auto finds out which one works.",
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="KEY=VALUE",
        help="A label; repeat it. Those given replace all there were; '' removes all.",
    ),
]
BootOption = Annotated[
    BootFrom | None,
    typer.Option("--boot", help="network, or local to leave the node on its own disk."),
]


class NodeOptions(TypedDict):
    """What a node can be given; None where the command line does not name it."""

    mac: MacOption
    rack: RackOption
    role: RoleOption
    arch: ArchOption
    image: ImageOption
    kernel_args: KernelArgsOption
    nbp: NbpOption
    shape: ShapeOption
    label: LabelOption
    boot: BootOption


def labels_of(texts: list[str] | None) -> dict[str, str] | None:
    """Return labels written as KEY=VALUE, or None when none were given."""
    if texts is None:
        return None
    labels = {}
    for text in texts:
        if not text:
            continue
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return labels


def reason(message: str) -> str:
    """Return a message that is not empty; a usage error otherwise."""
    if not message.strip():
        raise typer.BadParameter("say why in a few words", param_hint="--message")
    return message
