"""Nodes: list, add, change, remove, explain."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bootserve.core.access import SITE_PLACE, Place, place_of_node
from bootserve.core.explain import Explanation, explain
from bootserve.core.scripts import BootLine
from bootserve.core.shapes import ShapeBook
from bootserve.core.snapshot import NodePlan
from bootserve.core.transactions import add_node, remove_node, set_node
from bootserve.errors import Unavailable
from bootserve.model.desired import DesiredState, Node
from bootserve.model.names import (
    Mac,
    check_kernel_args,
    check_labels,
    check_name,
    check_nbp_file,
    parse_mac,
)
from bootserve.servers.admin.boots import last_boot
from bootserve.servers.admin.commits import commit
from bootserve.servers.admin.live import degraded_of, once_out, waits_of
from bootserve.servers.admin.nbps import choices_out
from bootserve.servers.admin.needs import OPERATOR, VIEWER, anywhere, new_node, node, places
from bootserve.servers.admin.paging import named_page
from bootserve.servers.admin.plane import AdminPlane, find_plan
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas import (
    CommitOut,
    MessageQuery,
    NodeBody,
    NodeList,
    NodeOut,
    NodePatch,
    NodeQuery,
)
from bootserve.servers.admin.schemas_live import NodeShown
from bootserve.servers.admin.schemas_seen import ExplainOut, LostPinOut, OfferOut

__all__ = ["node_of", "node_out", "routes"]


def node_out(plan: NodePlan) -> NodeOut:
    """Return a node and what its pins come to, as the API shows it."""
    node, resolution = plan.node, plan.resolution
    return NodeOut(
        name=node.name,
        macs=list(node.macs),
        rack=node.rack,
        role=node.role,
        arch=node.arch,
        image=node.image,
        kernel_args=node.kernel_args,
        boot=node.boot,
        nbp=node.nbp,
        labels=dict(node.labels),
        shape=node.shape,
        action=resolution.action.value,
        generation=str(resolution.generation.ref) if resolution.generation else "",
        reason=resolution.reason,
    )


def node_of(body: NodeBody) -> Node:
    """Return the model's node; raises InvalidInput for a bad name, MAC or argument."""
    return _checked(Node(name=check_name(body.name, "node name"), macs=()), body.model_dump())


def _checked(node: Node, fields: dict[str, Any]) -> Node:
    changes: dict[str, Any] = {k: fields[k] for k in ("arch", "boot", "shape") if k in fields}
    for name in ("rack", "role", "image"):
        if name in fields:
            changes[name] = check_name(fields[name], f"{name} name") if fields[name] else ""
    if "nbp" in fields:
        changes["nbp"] = check_nbp_file(fields["nbp"])
    if "kernel_args" in fields:
        changes["kernel_args"] = check_kernel_args(fields["kernel_args"])
    if "macs" in fields:
        changes["macs"] = _macs(fields["macs"])
    if "labels" in fields:
        changes["labels"] = check_labels(fields["labels"])
    return replace(node, **changes)


def _macs(texts: list[str]) -> tuple[Mac, ...]:
    return tuple(dict.fromkeys(parse_mac(text) for text in texts))


def _changed_places(state: DesiredState, call: Call[NodePatch, NoQuery]) -> list[Place]:
    old, body = state.nodes.get(call.path["name"]), call.body
    if old is None:
        return [SITE_PLACE]
    new = replace(
        old,
        rack=old.rack if body.rack is None else body.rack,
        role=old.role if body.role is None else body.role,
    )
    return [place_of_node(old), place_of_node(new)]


class _Nodes:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    async def list_all(self, call: Call[Request, NodeQuery]) -> NodeList:
        snapshot, query = self._plane.current.snapshot, call.query

        def look(name: str) -> NodeOut | None:
            node = snapshot.state.nodes[name]
            return node_out(snapshot.plan_of(node)) if call.sees(node) else None

        names = _beginning(snapshot.fleet.names, query.prefix)
        nodes, more = await named_page(names, look, query)
        return NodeList(revision=snapshot.revision.number, next=more, nodes=nodes)

    async def show(self, call: Call[Request, NoQuery]) -> NodeShown:
        snapshot = self._plane.current.snapshot
        plan = find_plan(snapshot, call.path["name"])
        return NodeShown(
            revision=snapshot.revision.number,
            **node_out(plan).model_dump(),
            waits=waits_of(self._plane, plan),
            degraded=degraded_of(self._plane, plan.node.name),
            once=once_out(self._plane.guards.once.pending(plan.node.name)),
            nbps=choices_out(self._plane, plan),
            ipxe=await self._last_ipxe(plan),
        )

    async def _last_ipxe(self, plan: NodePlan) -> str:
        try:
            boot = await last_boot(self._plane, plan.node.name)
        except Unavailable:  # what the node is can be shown without what it did
            return ""
        return boot.ipxe if boot else ""

    async def add(self, call: Call[NodeBody, NoQuery]) -> CommitOut:
        body = call.body
        return await commit(
            self._plane, call, add_node(node_of(body)), body.message or f"add node {body.name}"
        )

    async def change(self, call: Call[NodePatch, NoQuery]) -> CommitOut:
        name, body = call.path["name"], call.body
        fields = body.model_dump(exclude_none=True)
        return await commit(
            self._plane,
            call,
            set_node(name, lambda node: _checked(node, fields)),
            body.message or f"set node {name}",
        )

    async def remove(self, call: Call[Request, MessageQuery]) -> CommitOut:
        name = call.path["name"]
        return await commit(
            self._plane, call, remove_node(name), call.query.message or f"remove node {name}"
        )

    async def explain(self, call: Call[Request, NoQuery]) -> ExplainOut:
        plane = self._plane
        snapshot = plane.current.snapshot
        found = explain(snapshot, call.path["name"])
        plan = snapshot.plans[found.node.name]
        line = BootLine("preview", plan.node.macs[0], plane.http_base)
        return _explain_out(
            found,
            plan,
            waits=waits_of(plane, plan),
            degraded=degraded_of(plane, plan.node.name),
            once=once_out(plane.guards.once.pending(plan.node.name)),
            script=plane.guards.preview(plane.current.scripts, snapshot, plan, line, whole=True),
            offers=_offers(found.node, plane.shapes),
            nbps=choices_out(plane, plan),
            last_boot=await last_boot(plane, plan.node.name),
        )


def _beginning(names: Sequence[str], prefix: str) -> Sequence[str]:
    """Return those of the sorted ``names`` that begin with ``prefix``."""
    after_all = prefix + chr(sys.maxunicode)
    return names[bisect_left(names, prefix) : bisect_left(names, after_all)]


def _offers(node: Node, shapes: ShapeBook) -> list[OfferOut]:
    chosen = ((mac, shapes.explain(mac, node.shape.fixed)) for mac in node.macs)
    return [
        OfferOut(mac=mac, shape=one.shape, source=one.source, detail=one.detail, at=one.at)
        for mac, one in chosen
    ]


def _explain_out(found: Explanation, plan: NodePlan, **live: Any) -> ExplainOut:
    return ExplainOut(
        node=node_out(plan),
        revision=found.revision,
        image=found.image,
        image_from=found.image_from,
        pin=f"{found.pin.scope} {found.pin.generation}" if found.pin else "",
        lost=[
            LostPinOut(
                scope=str(lost.pin.scope), generation=str(lost.pin.generation), reason=lost.reason
            )
            for lost in found.lost
        ],
        kernel_args=list(found.kernel_args),
        **live,
    )


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of nodes."""
    nodes = _Nodes(plane)
    one, shown = "/nodes/{name}", node(VIEWER)
    return [
        Route(
            "GET",
            "/nodes",
            "List nodes",
            nodes.list_all,
            NodeList,
            query=NodeQuery,
            needs=anywhere(VIEWER),
        ),
        Route(
            "POST",
            "/nodes",
            "Add a node",
            nodes.add,
            CommitOut,
            NodeBody,
            status=201,
            needs=new_node(OPERATOR),
        ),
        Route("GET", one, "Show a node", nodes.show, NodeShown, needs=shown),
        Route(
            "PATCH",
            one,
            "Change a node",
            nodes.change,
            CommitOut,
            NodePatch,
            needs=places(OPERATOR, _changed_places, "the node's rack or role, now and then"),
        ),
        Route(
            "DELETE",
            one,
            "Remove a node",
            nodes.remove,
            CommitOut,
            query=MessageQuery,
            needs=node(OPERATOR),
        ),
        Route(
            "GET", f"{one}/explain", "Explain its next boot", nodes.explain, ExplainOut, needs=shown
        ),
    ]
