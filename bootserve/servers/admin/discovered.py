"""Discovered machines: list, adopt as a node, forget."""

from __future__ import annotations

import time
from dataclasses import asdict

from bootserve.core.transactions import add_node
from bootserve.errors import NotFound
from bootserve.model.desired import Node
from bootserve.model.names import Arch, Mac, check_name, parse_mac
from bootserve.servers.admin.commits import commit
from bootserve.servers.admin.needs import OPERATOR, VIEWER, anywhere, new_node, site
from bootserve.servers.admin.paging import PageQuery, page
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas import AdoptBody, CommitOut
from bootserve.servers.admin.schemas_seen import DiscoveredList, DiscoveredOut

__all__ = ["routes"]


class _Discovered:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    async def _machines(self) -> list[DiscoveredOut]:
        await self._plane.flush()
        known = self._plane.current.snapshot.by_mac
        found = await self._plane.database.run(self._plane.boots.discovered)
        return [
            DiscoveredOut(
                first_seen=one.first_seen,
                last_seen=one.last_seen,
                count=one.times,
                **asdict(one.machine),
            )
            for one in found
            if one.machine.mac not in known
        ]

    async def list_all(self, call: Call[Request, PageQuery]) -> DiscoveredList:
        found, more = page(await self._machines(), lambda one: one.mac, call.query)
        return DiscoveredList(next=more, machines=found)

    async def adopt(self, call: Call[AdoptBody, NoQuery]) -> CommitOut:
        body, mac = call.body, parse_mac(call.path["mac"])
        machine = next((one for one in await self._machines() if one.mac == mac), None)
        if machine is None:
            raise NotFound(
                f"no machine with MAC {mac} was discovered",
                hint="See 'bootserve node discovered', or add it with 'bootserve node add'.",
            )
        node = Node(
            name=check_name(body.name, "node name"),
            macs=(mac,),
            rack=check_name(body.rack, "rack name") if body.rack else "",
            role=check_name(body.role, "role name") if body.role else "",
            arch=Arch.ARM64 if "arm64" in machine.arch else Arch.AMD64,
        )
        result = await commit(
            self._plane, call, add_node(node), body.message or f"adopt {mac} as node {body.name}"
        )
        await self._forget(mac, call.subject)
        return result

    async def _forget(self, mac: Mac, by: str) -> None:
        forget = self._plane.boots.forget_discovered
        await self._plane.database.run(forget, mac, at=time.time(), by=by)

    async def forget(self, call: Call[Request, NoQuery]) -> None:
        await self._forget(parse_mac(call.path["mac"]), call.subject)


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of discovered machines."""
    handlers = _Discovered(plane)
    one = "/discovered/{mac}"
    return [
        Route(
            "GET",
            "/discovered",
            "List discovered machines",
            handlers.list_all,
            DiscoveredList,
            query=PageQuery,
            needs=anywhere(VIEWER),
        ),
        Route(
            "POST",
            one + "/adopt",
            "Make a discovered machine a node",
            handlers.adopt,
            CommitOut,
            AdoptBody,
            status=201,
            needs=new_node(OPERATOR),
        ),
        Route(
            "DELETE",
            one,
            "Forget a discovered machine",
            handlers.forget,
            status=204,
            needs=site(OPERATOR),
        ),
    ]
