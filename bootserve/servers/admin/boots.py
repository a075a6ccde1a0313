"""Boots: what nodes did, with their phases."""

from __future__ import annotations

from bootserve.core.access import Place, place_of_node, scopes_of
from bootserve.model.boot import Phase
from bootserve.model.desired import DesiredState
from bootserve.servers.admin.needs import VIEWER, places
from bootserve.servers.admin.paging import next_of, older
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, Request, Route
from bootserve.servers.admin.schemas_seen import BootList, BootOut, BootQuery, PhaseOut
from bootserve.store.boots import BootHistory

__all__ = ["last_boot", "routes"]


def boot_out(seen: BootHistory) -> BootOut:
    """Return a boot with its phases as the API shows it."""
    boot = seen.boot
    return BootOut(
        id=boot.id,
        node=boot.node,
        mac=boot.mac,
        generation=str(boot.generation),
        digest=boot.digest,
        revision=boot.revision,
        at=boot.minted_at,
        address=boot.address,
        phases=[PhaseOut(phase=p.phase.value, at=p.at, detail=p.detail) for p in seen.phases],
        reported_generation=seen.running,
        reported_root=seen.root,
        ipxe=next((p.detail for p in seen.phases if p.phase is Phase.IPXE), ""),
    )


async def last_boot(plane: AdminPlane, node: str) -> BootOut | None:
    """Return the newest boot of ``node``, or None."""
    await plane.flush()
    seen = await plane.database.run(plane.boots.last_boot, node)
    return boot_out(seen) if seen else None


def _asked_place(state: DesiredState, call: Call[Request, BootQuery]) -> list[Place]:
    name = call.query.node
    return [place_of_node(state.nodes.get(name))] if name else []


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of boots."""

    async def list_boots(call: Call[Request, BootQuery]) -> BootList:
        await plane.flush()
        query = call.query
        before = older(query, str, query.before)
        found = await plane.database.run(
            plane.boots.boots,
            node=query.node or None,
            limit=query.limit,
            before=before,
            within=scopes_of(call.who, VIEWER),
        )
        more = next_of(found, lambda seen: seen.boot.id, query)
        return BootList(next=more, boots=[boot_out(seen) for seen in found])

    return [
        Route(
            "GET",
            "/boots",
            "List boots",
            list_boots,
            BootList,
            query=BootQuery,
            needs=places(VIEWER, _asked_place, "the node asked for"),
        )
    ]
