"""The audit log and the past."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import aclosing

from aiohttp import web

from bootserve.core.as_of import RunningThen, Then, as_of
from bootserve.errors import InvalidInput, NotFound
from bootserve.model.desired import DesiredState, Node, Scope, ScopeKind
from bootserve.servers.admin.needs import VIEWER, site
from bootserve.servers.admin.paging import named_page, next_of, older
from bootserve.servers.admin.plane import AdminPlane, revision_out
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas_audit import (
    AsOfOut,
    AsOfQuery,
    AuditHeadOut,
    AuditKeyOut,
    AuditPage,
    AuditQuery,
    AuditRecordOut,
    ChainVerdictOut,
    ExportQuery,
    FindingOut,
    NodeThen,
    RunningOut,
    VerdictOut,
    VerifyBody,
)
from bootserve.servers.admin.streaming import send
from bootserve.servers.audit import Verdict
from bootserve.store.audit_log import AuditFilter, StoredRecord

__all__ = ["routes"]

LONG = 16 << 10
"""Characters of a record from which on its detail is cut in lists."""
MOST = 20
"""Elements of a list that are left then."""


def _record_out(stored: StoredRecord) -> AuditRecordOut:
    record = json.loads(stored.line)
    cut = len(stored.line) > LONG
    if cut:
        record["about"] = record["about"][:MOST]
        record["detail"] = {
            name: value[:MOST] if isinstance(value, list | str) else value
            for name, value in record["detail"].items()
        }
    del record["previous"]
    return AuditRecordOut(id=stored.id, hash=stored.hash, cut=cut, **record)


def _verdict_out(verdict: Verdict) -> VerdictOut:
    return VerdictOut(
        intact=not verdict.found,
        chains=[
            ChainVerdictOut.model_validate(one, from_attributes=True) for one in verdict.chains
        ],
        checkpoints=verdict.checkpoints,
        found=verdict.found,
        findings=[FindingOut.model_validate(one, from_attributes=True) for one in verdict.findings],
        unchecked=sorted(verdict.unchecked),
    )


def _running_out(running: RunningThen | None) -> RunningOut | None:
    if running is None:
        return None
    return RunningOut(
        boot=running.boot.id,
        generation=str(running.boot.generation),
        revision=running.boot.revision,
        at=running.boot.minted_at,
        up_at=running.up_at,
        reported_generation=running.generation,
        reported_root=running.root,
    )


def _then_out(then: Then) -> NodeThen:
    generation = then.resolution.generation
    return NodeThen(
        node=then.node.name,
        rack=then.node.rack,
        role=then.node.role,
        action=then.resolution.action.value,
        generation=str(generation.ref) if generation else "",
        reason=then.resolution.reason,
        changed=revision_out(then.changed) if then.changed else None,
        running=_running_out(then.running),
    )


def _nodes_in(state: DesiredState, scope: Scope) -> Iterable[Node]:
    """Return the nodes of ``scope``; raises NotFound for a node that was not there."""
    match scope.kind:
        case ScopeKind.NODE:
            if scope.name not in state.nodes:
                raise NotFound(f"there was no node {scope.name} then")
            return [state.nodes[scope.name]]
        case ScopeKind.RACK:
            return [node for node in state.nodes.values() if node.rack == scope.name]
        case ScopeKind.ROLE:
            return [node for node in state.nodes.values() if node.role == scope.name]
        case _:
            return state.nodes.values()


class _Audit:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    async def page(self, call: Call[Request, AuditQuery]) -> AuditPage:
        query, plane = call.query, self._plane
        before = older(query, int, query.before)
        if before is not None and query.after is not None:
            raise InvalidInput("after goes neither with before nor with a cursor")
        await plane.flush()
        names = ("since", "until", "actor", "node", "rack", "kind", "chain")
        wanted = AuditFilter(**{name: getattr(query, name) for name in names})
        found = await plane.database.run(
            plane.audit.log.page,
            wanted,
            limit=query.limit,
            before=before,
            after=query.after,
        )
        # what a commit of a whole site left behind is megabytes to read
        records = await asyncio.to_thread(lambda: [_record_out(one) for one in found])
        return AuditPage(
            records=records,
            next="" if query.after is not None else next_of(found, lambda one: one.id, query),
        )

    async def key(self, _call: Call[Request, NoQuery]) -> AuditKeyOut:
        signer = self._plane.audit.signer
        return AuditKeyOut(id=signer.id, pem=signer.public_pem, text=signer.public_text)

    async def head(self, _call: Call[Request, NoQuery]) -> AuditHeadOut:
        return AuditHeadOut(**await self._plane.audit.heads())

    async def verify(self, call: Call[VerifyBody, NoQuery]) -> VerdictOut:
        return _verdict_out(await self._plane.audit.verify(call.body.keys, call.body.heads))

    async def export(self, call: Call[Request, ExportQuery]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        lines = self._plane.audit.export(call.query.since, call.query.until)
        async with aclosing(lines):  # type: ignore[type-var]
            async for data in lines:
                if not response.prepared:
                    await response.prepare(call.raw)
                await send(call.raw, response, data)
        await response.write_eof()
        return response

    async def as_of(self, call: Call[Request, AsOfQuery]) -> AsOfOut:
        query, plane = call.query, self._plane
        scope = Scope.parse(query.scope)
        await plane.flush()
        name = scope.name if scope.kind is ScopeKind.NODE else None
        past = await plane.database.run(plane.history.past, query.at, name)
        names = sorted(one.name for one in _nodes_in(past.state, scope))
        nodes, more = await named_page(names, past.state.nodes.get, query)
        return AsOfOut(
            at=query.at,
            revision=revision_out(past.revision),
            nodes=[_then_out(one) for one in as_of(past, nodes)],
            next=more,
        )


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of the audit log and the past."""
    audit = _Audit(plane)
    read = site(VIEWER)
    return [
        Route(
            "GET",
            "/audit",
            "List audit records",
            audit.page,
            AuditPage,
            query=AuditQuery,
            needs=read,
        ),
        Route("GET", "/audit/key", "The key it is signed with", audit.key, AuditKeyOut, needs=read),
        Route("GET", "/audit/head", "Its signed heads", audit.head, AuditHeadOut, needs=read),
        Route(
            "POST",
            "/audit/verify",
            "Verify the audit log",
            audit.verify,
            VerdictOut,
            VerifyBody,
            needs=read,
        ),
        Route(
            "GET",
            "/audit/export",
            "Export it as signed JSON lines",
            audit.export,
            query=ExportQuery,
            media="application/jsonl",
            needs=read,
        ),
        Route(
            "GET",
            "/as-of",
            "What was pinned and ran at a time",
            audit.as_of,
            AsOfOut,
            query=AsOfQuery,
            needs=read,
        ),
    ]
