"""``import``: a site file from what other systems have. Needs no server and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bootserve.cli import complete
from bootserve.cli.command import command, group
from bootserve.cli.planfile import read_text, write_text
from bootserve.cli.session import Session
from bootserve.core.site.changes import node_document
from bootserve.core.site.imports.dnsmasq import read_dnsmasq
from bootserve.core.site.imports.draft import Draft
from bootserve.core.site.imports.ethers import read_ethers
from bootserve.core.site.imports.netbox import NetBox
from bootserve.core.site.imports.warewulf import read_warewulf
from bootserve.core.site.writing import write_site
from bootserve.errors import InvalidInput
from bootserve.model.names import check_name

__all__ = ["add_commands"]

Reader = Callable[[Draft, str, str], None]

Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="The files; - is stdin.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the site file here, not to stdout."),
]
RackOption = Annotated[
    str,
    typer.Option("--rack", metavar="RACK", help="The rack of nodes for which the files name none."),
]
RoleOption = Annotated[
    str,
    typer.Option(
        "--role",
        metavar="ROLE",
        help="The role of nodes for which the files name none.",
        autocompletion=complete.roles,
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add ``import …`` to ``app``."""
    imports = group(
        app, "import", "Site files from what other systems have; nothing is applied.", "Site"
    )
    command(imports, "ethers", "bootserve import ethers /etc/ethers --rack r1 -o site.yaml")(ethers)
    command(imports, "dnsmasq", "bootserve import dnsmasq /etc/dnsmasq.conf -o site.yaml")(dnsmasq)
    command(
        imports,
        "netbox",
        "bootserve import netbox devices.csv interfaces.csv -o site.yaml",
        "bootserve import netbox devices.json interfaces.json -o site.yaml",
    )(netbox)
    command(imports, "warewulf", "bootserve import warewulf nodes.conf -o site.yaml")(warewulf)


def ethers(
    session: Session,
    files: Files,
    *,
    rack: RackOption = "",
    role: RoleOption = "",
    output: Output = None,
) -> None:
    """Read /etc/ethers: a MAC address and a host on each line.

    Prints a site file. What cannot be carried over is said on stderr, line by line.
    """
    _import(session, read_ethers, files, (rack, role), output)


def dnsmasq(
    session: Session,
    files: Files,
    *,
    rack: RackOption = "",
    role: RoleOption = "",
    output: Output = None,
) -> None:
    """Read the dhcp-host lines of dnsmasq: a configuration, or a file of dhcp-hostsfile.

    Prints a site file; addresses become the label 'address', tags the label 'tag'. What cannot be
    carried over is said on stderr, line by line.
    """
    _import(session, read_dnsmasq, files, (rack, role), output)


def netbox(
    session: Session,
    files: Files,
    *,
    rack: RackOption = "",
    role: RoleOption = "",
    output: Output = None,
) -> None:
    """Read devices and interfaces of NetBox, as CSV exports or JSON of its API.

    Prints a site file, with rack and role; the position in the rack, the site, the serial number
    and the primary address become labels. What cannot be carried over is said on stderr.
    """
    found = NetBox()
    draft = Draft()
    for file in files:
        found.read(read_text(file), str(file))
    found.nodes(draft)
    _finish(session, draft, files, (rack, role), output)


def warewulf(
    session: Session,
    files: Files,
    *,
    rack: RackOption = "",
    role: RoleOption = "",
    output: Output = None,
) -> None:
    """Read nodes.conf of Warewulf 4, its profiles applied.

    Prints a site file: a node's last profile is its role, the container names the role's image,
    tags become labels. What cannot be carried over is said on stderr, line by line.
    """
    _import(session, read_warewulf, files, (rack, role), output)


def _import(
    session: Session,
    read: Reader,
    files: Sequence[Path],
    common: tuple[str, str],
    output: Path | None,
) -> None:
    draft = Draft()
    for file in files:
        read(draft, read_text(file), str(file))
    _finish(session, draft, files, common, output)


def _finish(
    session: Session,
    draft: Draft,
    files: Sequence[Path],
    common: tuple[str, str],
    output: Path | None,
) -> None:
    rack, role = (
        check_name(name, what) if name else ""
        for name, what in zip(common, ("rack name", "role name"), strict=True)
    )
    for note in draft.notes:
        session.out.note(note)
    if not draft.nodes:
        raise InvalidInput("no node was found in these files", hint="See docs/site.md.")
    state = draft.state(rack=rack, role=role)
    names = ", ".join(file.name for file in files)
    text = write_site(state, comment=f"Imported from {names}.", parts=True)
    if output is not None:
        write_text(output, text)
    if session.out.is_json:
        nodes = {name: node_document(node) for name, node in state.nodes.items()}
        session.out.json({"nodes": nodes, "notes": draft.notes, "site": text})
    elif output is None:
        session.out.raw(text)
    else:
        session.out.note(
            f"{output}: {len(state.nodes)} nodes. Look at it, then: bootserve plan -f {output}"
        )
