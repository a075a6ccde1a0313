"""Which nodes would boot something else than they run."""

from __future__ import annotations

from collections.abc import Sequence

from bootserve.core.heartbeats import Running
from bootserve.core.snapshot import NodePlan, Snapshot
from bootserve.core.would_change import WouldChange, in_scope, would_change
from bootserve.errors import NotFound
from bootserve.model.desired import Node, Scope, ScopeKind
from bootserve.servers.admin.needs import VIEWER, anywhere
from bootserve.servers.admin.paging import named_page, unhurried
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, Request, Route
from bootserve.servers.admin.schemas_would_change import (
    ScopeQuery,
    WouldChangeNode,
    WouldChangeOut,
)

__all__ = ["routes"]

Seen = tuple[NodePlan, Running]


class _Handler:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    async def list_all(self, call: Call[Request, ScopeQuery]) -> WouldChangeOut:
        """Answer a page of ``limit`` nodes of the scope, of which those that change are told."""
        snapshot, scope = self._plane.current.snapshot, Scope.parse(call.query.scope)
        nodes = snapshot.state.nodes
        names = [
            name
            async for name in unhurried(snapshot.fleet.names)
            if in_scope(nodes[name], scope) and call.sees(nodes[name])
        ]
        if not names and scope.kind is not ScopeKind.SITE:
            raise NotFound(f"there is no node in {scope}", hint="See 'bootserve node list'.")
        page, more = await named_page(names, nodes.get, call.query)
        seen, unknown = self._running(snapshot, page)
        changes = await self._changes(snapshot, seen)
        return WouldChangeOut(
            next=more,
            revision=snapshot.revision.number,
            nodes=[WouldChangeNode.model_validate(one, from_attributes=True) for one in changes],
            unchanged=len(seen) - len(changes),
            unknown=unknown,
        )

    def _running(self, snapshot: Snapshot, nodes: Sequence[Node]) -> tuple[list[Seen], list[str]]:
        """Return what ``nodes`` would boot and run, and the names of those never heard of."""
        seen, unknown = list[Seen](), list[str]()
        for node in nodes:
            running = self._plane.drift.book.of(node.name)
            if running is None:
                unknown.append(node.name)
            else:
                seen.append((snapshot.plan_of(node), running))
        return seen, unknown

    async def _changes(self, snapshot: Snapshot, seen: Sequence[Seen]) -> list[WouldChange]:
        revisions = await self._revisions(seen)
        past = await self._plane.database.run(
            self._plane.desired.past_arguments,
            min(revisions.values(), default=snapshot.revision.number),
            snapshot.state,
        )
        found = []
        async for plan, one in unhurried(seen):
            given = past.of(plan.node, revisions[one.boot]) if one.boot in revisions else None
            once = self._plane.guards.once.pending(plan.node.name)
            change = would_change(plan, one.generation, one.digest, given, once)
            if change is not None:
                found.append(change)
        return found

    async def _revisions(self, seen: Sequence[Seen]) -> dict[str, int]:
        """Return the revisions of the boots of those that run what they would boot, by boot."""
        boots = [
            running.boot
            async for plan, running in unhurried(seen)
            if plan.resolution.generation is not None
            and plan.resolution.generation.digest == running.digest
        ]
        await self._plane.flush()
        return await self._plane.database.run(self._plane.boots.revisions_of, boots)


def routes(plane: AdminPlane) -> list[Route]:
    """Return the route."""
    return [
        Route(
            "GET",
            "/would-change",
            "Nodes that would boot something else than they run",
            _Handler(plane).list_all,
            WouldChangeOut,
            query=ScopeQuery,
            needs=anywhere(VIEWER),
        )
    ]
