"""Which nodes would boot something else than they run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bootserve.core.heartbeats import Running
from bootserve.core.snapshot import NodePlan
from bootserve.core.would_change import in_scope, would_change
from bootserve.errors import NotFound
from bootserve.model.desired import Scope, ScopeKind
from bootserve.servers.admin.needs import VIEWER, anywhere
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, Request, Route
from bootserve.servers.admin.schemas_would_change import (
    ScopeQuery,
    WouldChangeNode,
    WouldChangeOut,
)
from bootserve.store.past_arguments import PastArguments

__all__ = ["routes"]


class _Handler:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    async def list_all(self, call: Call[Request, ScopeQuery]) -> WouldChangeOut:
        snapshot = self._plane.current.snapshot
        scope = Scope.parse(call.query.scope)
        plans = [
            snapshot.plan_of(node)
            for node in snapshot.state.nodes.values()
            if in_scope(node, scope) and call.sees(node)
        ]
        if not plans and scope.kind is not ScopeKind.SITE:
            raise NotFound(f"there is no node in {scope}", hint="See 'bootserve node list'.")
        seen = {plan.node.name: self._plane.drift.book.of(plan.node.name) for plan in plans}
        running = {name: one for name, one in seen.items() if one is not None}
        revisions = await self._revisions(plans, running)
        past = await self._past(revisions.values())
        found = []
        for plan in plans:
            one = running.get(plan.node.name)
            if one is not None:
                given = past.of(plan.node, revisions[one.boot]) if one.boot in revisions else None
                once = self._plane.guards.once.pending(plan.node.name)
                found.append(would_change(plan, one.generation, one.digest, given, once))
        changed = [one for one in found if one is not None]
        return WouldChangeOut(
            revision=snapshot.revision.number,
            nodes=[
                WouldChangeNode.model_validate(one, from_attributes=True)
                for one in sorted(changed, key=lambda one: (one.rack, one.node))
            ],
            unchanged=len(found) - len(changed),
            unknown=sorted(name for name, one in seen.items() if one is None),
        )

    async def _revisions(
        self, plans: Iterable[NodePlan], running: Mapping[str, Running]
    ) -> dict[str, int]:
        """Return the revisions of the boots of those that run what they would boot, by boot."""
        boots = [
            running[plan.node.name].boot
            for plan in plans
            if plan.node.name in running
            and plan.resolution.generation is not None
            and plan.resolution.generation.digest == running[plan.node.name].digest
        ]
        await self._plane.flush()
        return await self._plane.database.run(self._plane.boots.revisions_of, boots)

    async def _past(self, revisions: Iterable[int]) -> PastArguments:
        snapshot = self._plane.current.snapshot
        oldest = min(revisions, default=snapshot.revision.number)
        return await self._plane.database.run(
            self._plane.desired.past_arguments, oldest, snapshot.state
        )


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
