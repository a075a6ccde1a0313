"""Pins, revisions and rollback."""

from __future__ import annotations

from functools import partial

from bootserve.core.transactions import pin, restore, unpin, unrestorable
from bootserve.errors import Conflict, NotFound
from bootserve.model.desired import Pin, Scope
from bootserve.model.generation import GenerationRef
from bootserve.servers.admin.commits import commit
from bootserve.servers.admin.needs import OPERATOR, VIEWER, anywhere, pinned, site
from bootserve.servers.admin.paging import PageQuery, next_of, older, page
from bootserve.servers.admin.plane import AdminPlane, committed, revision_out
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas import (
    CommitOut,
    PinBody,
    PinList,
    PinOut,
    RevisionList,
    RevisionQuery,
    RollbackBody,
    UnpinQuery,
)

__all__ = ["routes"]


class _Pins:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    async def list_all(self, call: Call[Request, PageQuery]) -> PinList:
        snapshot = self._plane.current.snapshot
        state, decided = snapshot.state, snapshot.decided()
        seen = (key for key in state.pins if call.sees_pin(state, key.scope))
        keys, more = page(seen, lambda key: (str(key.scope), key.image), call.query)
        return PinList(
            revision=snapshot.revision.number,
            next=more,
            pins=[
                PinOut(
                    scope=str(key.scope),
                    generation=str(state.pins[key].generation),
                    nodes=decided[key],
                )
                for key in keys
            ],
        )

    async def put(self, call: Call[PinBody, NoQuery]) -> CommitOut:
        body = call.body
        new = Pin(Scope.parse(body.scope), GenerationRef.parse(body.generation))
        return await commit(
            self._plane,
            call,
            pin(new, change_role=body.change_role),
            body.message or f"pin {new.scope} {new.generation}",
        )

    async def remove(self, call: Call[Request, UnpinQuery]) -> CommitOut:
        query = call.query
        scope = Scope.parse(query.scope)
        return await commit(
            self._plane,
            call,
            unpin(scope, query.image),
            query.message or f"unpin {scope} {query.image}".strip(),
        )

    async def revisions(self, call: Call[Request, RevisionQuery]) -> RevisionList:
        query = call.query
        before = older(query, int, query.before)
        found = await self._plane.database.run(
            self._plane.desired.revisions, limit=query.limit, before=before
        )
        more = next_of(found, lambda one: one.number, query)
        return RevisionList(next=more, revisions=[revision_out(one) for one in found])

    async def rollback(self, call: Call[RollbackBody, NoQuery]) -> CommitOut:
        body, plane = call.body, self._plane
        snapshot = plane.current.snapshot
        if body.to > snapshot.revision.number:
            raise NotFound(f"there is no revision {body.to}", hint="See 'bootserve revisions'.")
        _, old = await plane.database.run(plane.desired.load, body.to)

        generations, nbps = snapshot.generations, snapshot.nbps
        lost = unrestorable(snapshot.state, old, generations, everything=body.all, nbps=nbps)
        if body.dry_run:
            return CommitOut(revision=None, nodes_changed=0, warnings=[], unrestorable=lost)
        if lost and not body.partial:
            raise Conflict(
                f"revision {body.to} cannot be restored whole: {'; '.join(lost[:5])}",
                hint="Pass --partial to restore the rest.",
            )
        return await commit(
            plane,
            call,
            restore(old, generations, everything=body.all, nbps=nbps),
            body.message or f"roll back to revision {body.to}",
            answer=partial(committed, unrestorable=lost),
            base=snapshot.revision.number,
        )


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of pins and revisions."""
    pins = _Pins(plane)
    return [
        Route(
            "GET",
            "/pins",
            "List pins",
            pins.list_all,
            PinList,
            query=PageQuery,
            needs=anywhere(VIEWER),
        ),
        Route(
            "PUT",
            "/pins",
            "Pin a scope to a generation",
            pins.put,
            CommitOut,
            PinBody,
            needs=pinned(OPERATOR, lambda call: call.body.scope),
        ),
        Route(
            "DELETE",
            "/pins",
            "Remove a pin",
            pins.remove,
            CommitOut,
            query=UnpinQuery,
            needs=pinned(OPERATOR, lambda call: call.query.scope),
        ),
        Route(
            "GET",
            "/revisions",
            "List revisions",
            pins.revisions,
            RevisionList,
            query=RevisionQuery,
            needs=anywhere(VIEWER),
        ),
        Route(
            "POST",
            "/rollback",
            "Roll back",
            pins.rollback,
            CommitOut,
            RollbackBody,
            needs=site(OPERATOR),
        ),
    ]
