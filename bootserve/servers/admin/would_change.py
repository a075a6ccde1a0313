"""Which nodes would boot something else than they run."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from bootserve.core.heartbeats import Running
from bootserve.core.snapshot import NodePlan, Snapshot
from bootserve.core.would_change import in_scope, would_change
from bootserve.errors import NotFound
from bootserve.model.desired import Scope, ScopeKind
from bootserve.servers.admin.needs import VIEWER, anywhere
from bootserve.servers.admin.paging import unhurried
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
        snapshot, scope = self._plane.current.snapshot, Scope.parse(call.query.scope)
        seen, unknown = await self._running(call, snapshot, scope)
        if not seen and not unknown and scope.kind is not ScopeKind.SITE:
            raise NotFound(f"there is no node in {scope}", hint="See 'bootserve node list'.")
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
                found.append(WouldChangeNode.model_validate(change, from_attributes=True))
        return WouldChangeOut(
            revision=snapshot.revision.number,
            nodes=sorted(found, key=attrgetter("rack")),
            unchanged=len(seen) - len(found),
            unknown=unknown,
        )

    async def _running(
        self, call: Call[Request, ScopeQuery], snapshot: Snapshot, scope: Scope
    ) -> tuple[list[Seen], list[str]]:
        """Return by name what nodes of ``scope`` would boot and run, and those never heard of."""
        seen, unknown = list[Seen](), list[str]()
        async for name in unhurried(snapshot.fleet.names):
            node = snapshot.state.nodes[name]
            if in_scope(node, scope) and call.sees(node):
                running = self._plane.drift.book.of(name)
                if running is None:
                    unknown.append(name)
                else:
                    seen.append((snapshot.plan_of(node), running))
        return seen, unknown

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
