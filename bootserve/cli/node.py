"""Commands on nodes and on machines that may become nodes."""

from __future__ import annotations

from typing import Any, Unpack

import typer

from bootserve.cli import once
from bootserve.cli.changes import said, show_commit
from bootserve.cli.client import Reply, segment
from bootserve.cli.command import command, group
from bootserve.cli.explaining import nbps_text
from bootserve.cli.options import (
    MacArg,
    MessageOption,
    NodeArg,
    NodeOptions,
    RackOption,
    RoleOption,
    labels_of,
)
from bootserve.cli.output import Output, local_time
from bootserve.cli.session import Session
from bootserve.model.names import parse_mac
from bootserve.model.shape import ShapeSetting
from bootserve.servers.admin.schemas import CommitOut, NodeList, NodeOut
from bootserve.servers.admin.schemas_live import NodeShown
from bootserve.servers.admin.schemas_seen import DiscoveredList

__all__ = ["add_commands"]

PANEL = "Nodes"


def add_commands(app: typer.Typer) -> None:
    """Add ``node …`` to ``app``."""
    node = group(app, "node", "Add, change, list and adopt nodes.", PANEL)
    command(
        node,
        "add",
        "bootserve node add r12-n01 --mac 52:54:00:12:34:56 --rack r12 --role compute",
        "bootserve node add ceph-3 --mac 525400aa0001 --mac 525400aa0002 --label row=b",
    )(add)
    command(
        node,
        "set",
        "bootserve node set r12-n01 --kernel-args 'console=ttyS1 hugepages=1024'",
        "bootserve node set r12-n01 --boot local -m 'vendor firmware update'",
        "bootserve node set r12-n01 --shape binl --nbp snponly.efi",
    )(change)
    command(node, "list", "bootserve node list --rack r12")(list_nodes)
    command(node, "show", "bootserve node show r12-n01")(show)
    command(node, "rm", "bootserve node rm r12-n01 -m 'sent back'")(remove)
    command(node, "discovered", "bootserve node discovered")(discovered)
    command(
        node, "adopt", "bootserve node adopt 52:54:00:12:34:56 r12-n02 --rack r12 --role compute"
    )(adopt)
    command(node, "forget", "bootserve node forget 52:54:00:12:34:56")(forget)
    once.add_commands(node)


def _body(options: NodeOptions) -> dict[str, Any]:
    """Return the API's fields for the options that were given."""
    given: dict[str, Any] = dict(options)
    fields = {**given, "macs": given["mac"] or None, "labels": labels_of(given["label"])}
    return _given(**{name: fields[name] for name in fields.keys() - {"mac", "label"}})


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def add(
    session: Session,
    name: NodeArg,
    *,
    message: MessageOption = "",
    **options: Unpack[NodeOptions],
) -> None:
    """Add a node. It boots what its role, rack, site or own pin says, or holds without one."""
    if not options["mac"]:
        raise typer.BadParameter("a node needs at least one", param_hint="--mac")
    body = {"name": name, **_body(options), "message": message}
    reply = session.call("POST", "/nodes", CommitOut, body=body)
    show_commit(session, reply, said(f"Node {name} is added"))


def change(
    session: Session,
    name: NodeArg,
    *,
    message: MessageOption = "",
    **options: Unpack[NodeOptions],
) -> None:
    """Change a node. What is not named stays as it is; '' empties a text."""
    fields = _body(options)
    if not fields:
        raise typer.BadParameter("name at least one thing to change", param_hint="options")
    body = {**fields, "message": message}
    reply = session.call("PATCH", f"/nodes/{segment(name)}", CommitOut, body=body)
    show_commit(session, reply, said(f"Node {name} is changed"))


def list_nodes(session: Session, *, rack: RackOption = None, role: RoleOption = None) -> None:
    """List nodes and what each boots next."""
    reply = session.pages("/nodes", NodeList)
    wanted = {"rack": rack, "role": role}
    nodes = [
        node
        for node in reply.raw["nodes"]
        if all(value is None or node[field] == value for field, value in wanted.items())
    ]
    raw = {**reply.raw, "nodes": nodes}
    session.show(Reply(NodeList.model_validate(raw), raw), _table)


def _table(out: Output, answer: NodeList) -> None:
    if not answer.nodes:
        out.note("No nodes. Add one with 'bootserve node add'.")
        return
    out.table(
        ["NODE", "RACK", "ROLE", "ARCH", "NEXT BOOT", "MAC"],
        [
            [one.name, one.rack, one.role, one.arch, next_boot(one), " ".join(one.macs)]
            for one in answer.nodes
        ],
    )


def next_boot(node: NodeOut) -> str:
    """Return in a word or two what ``node`` does at its next boot."""
    match node.action:
        case "boot":
            return node.generation
        case "local":
            return "local disk"
        case other:
            return other


def show(session: Session, name: NodeArg) -> None:
    """Show a node; 'bootserve explain' also says why it boots what it boots."""
    reply = session.call("GET", f"/nodes/{segment(name)}", NodeShown)
    session.show(reply, _details)


def _details(out: Output, node: NodeShown) -> None:
    rows = [
        ("Node", node.name),
        ("MAC", "\n".join(node.macs)),
        ("Rack", node.rack),
        ("Role", node.role),
        ("Image override", node.image),
        ("Architecture", node.arch),
        ("Boots from", node.boot),
        ("Kernel arguments", node.kernel_args),
        ("NBP", node.nbp),
        ("Pinned NBP", nbps_text(node.nbps)),
        ("Offer shape", "" if node.shape is ShapeSetting.AUTO else node.shape),
        ("Last iPXE", node.ipxe),
        ("Labels", "\n".join(f"{key}={value}" for key, value in node.labels.items())),
        ("Once", f"{once.once_text(node.once)}, set by {node.once.set_by}" if node.once else ""),
        ("Next boot", f"{next_boot(node)}: {node.reason}"),
        ("Degraded", node.degraded),
        ("Waits", node.waits),
    ]
    out.pairs([(name, value) for name, value in rows if value])


def remove(session: Session, name: NodeArg, *, message: MessageOption = "") -> None:
    """Remove a node and the pins set on it. Its boots stay on record."""
    path = f"/nodes/{segment(name)}"
    reply = session.call("DELETE", path, CommitOut, query={"message": message})
    show_commit(session, reply, said(f"Node {name} is removed"))


def discovered(session: Session) -> None:
    """List machines that asked to boot and are no node (with --unknown register)."""
    session.show(session.pages("/discovered", DiscoveredList), _machines)


def _machines(out: Output, answer: DiscoveredList) -> None:
    if not answer.machines:
        out.note("No machines. They are recorded when the server runs with --unknown register.")
        return
    out.table(
        ["MAC", "LAST SEEN", ">SEEN", "ARCH", "MANUFACTURER", "PRODUCT", "SERIAL", "UUID"],
        [
            [
                one.mac,
                local_time(one.last_seen),
                one.count,
                one.arch,
                one.manufacturer,
                one.product,
                one.serial,
                one.uuid,
            ]
            for one in answer.machines
        ],
    )


def adopt(
    session: Session,
    mac: MacArg,
    name: NodeArg,
    *,
    rack: RackOption = None,
    role: RoleOption = None,
    message: MessageOption = "",
) -> None:
    """Make a discovered machine a node."""
    body = _given(name=name, rack=rack, role=role, message=message)
    path = f"/discovered/{segment(parse_mac(mac))}/adopt"
    reply = session.call("POST", path, CommitOut, body=body)
    show_commit(session, reply, said(f"{parse_mac(mac)} is node {name}"))


def forget(session: Session, mac: MacArg) -> None:
    """Drop a discovered machine from the list, until it asks again."""
    address = parse_mac(mac)
    session.run(lambda api: api.discard("DELETE", f"/discovered/{segment(address)}"))
    if session.out.is_json:
        session.out.json(None)
    else:
        session.out.line(f"{address} is forgotten.")
