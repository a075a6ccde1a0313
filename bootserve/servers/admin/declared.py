"""The desired state as a whole: read it, plan a change of it, make one, see what changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from aiohttp import web

from bootserve.core.site.changes import Changes, changes_between, changes_from_document
from bootserve.core.site.effects import Effect
from bootserve.core.site.planning import effects_since, preview
from bootserve.core.site.wording import sentences
from bootserve.errors import InvalidInput, NotFound
from bootserve.model.desired import DesiredState
from bootserve.servers.admin.commits import commit
from bootserve.servers.admin.needs import OPERATOR, VIEWER, anywhere, site
from bootserve.servers.admin.plane import AdminPlane, revision_out
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas import CommitOut
from bootserve.servers.admin.schemas_site import (
    ApplyBody,
    ChangesBody,
    ChangesOut,
    EffectOut,
    PlanBody,
    PlanOut,
    SinceQuery,
    StateOut,
)

__all__ = ["routes"]

_PIECE = 500
"""Nodes that are written at once: a piece takes about a millisecond."""
_MOST_REVISIONS = 1000


def effect_out(effect: Effect) -> EffectOut:
    """Return an effect as the API shows it."""
    return EffectOut(
        kind=effect.kind,
        rack=effect.rack,
        before=effect.before,
        after=effect.after,
        nodes=list(effect.nodes),
    )


def _changes(body: ChangesBody) -> Changes:
    return changes_from_document(body.model_dump())


def _pieces(number: int, state: DesiredState) -> Iterator[bytes]:
    """Yield the state as JSON, see StateOut, in pieces that hold nobody up."""
    made = changes_between(DesiredState(), replace(state, nodes={})).document()
    rest = {name: made[name] for name in ("roles", "racks", "pins", "nbp_pins")}
    yield json.dumps({"revision": number, **rest})[:-1].encode() + b', "nodes": {'
    nodes, lead = iter(state.nodes.items()), b""
    while piece := dict(islice(nodes, _PIECE)):
        document = Changes(nodes=piece).document()["nodes"]
        yield lead + json.dumps(document)[1:-1].encode()
        lead = b", "
    yield b"}}"


class _Site:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    async def state(self, call: Call[Request, NoQuery]) -> web.StreamResponse:
        snapshot = self._plane.current.snapshot
        headers = {"Content-Type": "application/json", "ETag": f'"{snapshot.revision.number}"'}
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.raw)
        for piece in _pieces(snapshot.revision.number, snapshot.state):
            await response.write(piece)
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    async def plan(self, call: Call[PlanBody, NoQuery]) -> PlanOut:
        body, before = call.body, self._plane.current.snapshot
        number = before.revision.number
        await self._plane.committer.check_base(body.base)
        changes = await asyncio.to_thread(_changes, body.changes)
        found = await asyncio.to_thread(preview, changes.apply, before)
        return PlanOut(
            base=number,
            effects=[effect_out(one) for one in found.effects],
            sentences=sentences(found.effects),
            warnings=found.warnings,
        )

    async def apply(self, call: Call[ApplyBody, NoQuery]) -> CommitOut:
        body = call.body
        if call.base not in (None, body.base):
            raise InvalidInput(
                f"If-Match names revision {call.base}, and body.base is {body.base}",
                hint="Send the revision that the changes were planned against, once.",
            )
        changes = await asyncio.to_thread(_changes, body.changes)
        message = body.message or "apply a site file"
        return await commit(self._plane, call, changes.apply, message, base=body.base)

    async def since(self, call: Call[Request, SinceQuery]) -> ChangesOut:
        plane, since = self._plane, call.query.since
        now = plane.current.snapshot
        if since > now.revision.number:
            raise NotFound(f"there is no revision {since}", hint="See 'bootserve revisions'.")
        revision, state = await plane.database.run(plane.desired.load, since)
        limit = min(now.revision.number - since, _MOST_REVISIONS)
        made = await plane.database.run(
            plane.desired.revisions, limit=limit, before=now.revision.number + 1
        )
        effects = await asyncio.to_thread(effects_since, revision, state, now)
        return ChangesOut(
            revision=now.revision.number,
            revisions=[revision_out(one) for one in made],
            effects=[effect_out(one) for one in effects],
            sentences=sentences(effects),
        )


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of the desired state as a whole."""
    handlers = _Site(plane)
    return [
        Route(
            "GET",
            "/state",
            "The whole desired state",
            handlers.state,
            StateOut,
            needs=site(VIEWER),
        ),
        Route(
            "GET",
            "/changes",
            "What changed since a revision",
            handlers.since,
            ChangesOut,
            query=SinceQuery,
            needs=site(VIEWER),
        ),
        Route(
            "POST",
            "/plan",
            "What changes would come to",
            handlers.plan,
            PlanOut,
            PlanBody,
            needs=site(VIEWER),
        ),
        # what it may change is checked node by node when it is committed
        Route(
            "POST",
            "/apply",
            "Make changes as one revision",
            handlers.apply,
            CommitOut,
            ApplyBody,
            needs=anywhere(OPERATOR),
        ),
    ]
