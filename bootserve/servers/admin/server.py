"""The server itself: status, reload, scrub, health, metrics, the OpenAPI document."""

from __future__ import annotations

import json
import time
from dataclasses import replace

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from bootserve.core.access import SITE_PLACE, require
from bootserve.errors import BootserveError
from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.servers.admin import (
    access,
    audit,
    boots,
    declared,
    discovered,
    drift,
    generations,
    groups,
    live,
    nbps,
    nodes,
    openapi,
    pins,
    reboots,
    rollouts,
    would_change,
)
from bootserve.servers.admin.auth import Gate, middleware
from bootserve.servers.admin.handling import MAX_BODY, install
from bootserve.servers.admin.needs import ADMIN, VIEWER, anywhere, site
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.problems import Crashed, problems
from bootserve.servers.admin.requests import request_ids
from bootserve.servers.admin.routing import PREFIX, SUBJECT, Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas_seen import ScrubOut, StatusOut

__all__ = ["all_routes", "make_app"]


def _own_routes(plane: AdminPlane) -> list[Route]:
    async def status(_call: Call[Request, NoQuery]) -> StatusOut:
        return await plane.status()

    async def reload(call: Call[Request, NoQuery]) -> StatusOut:
        entry = AuditEntry(AuditKind.RELOAD, time.time(), call.subject)
        await plane.audit.record(entry)
        try:
            plane.reload()
        except BootserveError as error:
            await plane.audit.record(replace(entry, message=f"refused: {error}"))
            raise
        return await plane.status()

    async def scrub(_call: Call[Request, NoQuery]) -> ScrubOut:
        checked, quarantined = await plane.scrub()
        return ScrubOut(checked=checked, quarantined=quarantined)

    return [
        Route("GET", "/status", "The server's state", status, StatusOut, needs=anywhere(VIEWER)),
        Route(
            "POST",
            "/reload",
            "Read templates, quirks and certificate again",
            reload,
            StatusOut,
            needs=site(ADMIN),
        ),
        Route("POST", "/scrub", "Verify every artifact now", scrub, ScrubOut, needs=site()),
    ]


def all_routes(plane: AdminPlane) -> list[Route]:
    """Return every operation of the API."""
    return [
        *_own_routes(plane),
        *nodes.routes(plane),
        *live.routes(plane),
        *discovered.routes(plane),
        *groups.routes(plane),
        *pins.routes(plane),
        *generations.routes(plane),
        *nbps.routes(plane),
        *boots.routes(plane),
        *declared.routes(plane),
        *would_change.routes(plane),
        *reboots.routes(plane),
        *access.routes(plane),
        *rollouts.routes(plane),
        *audit.routes(plane),
        *drift.routes(plane),
    ]


def make_app(
    plane: AdminPlane, registry: CollectorRegistry, gate: Gate, crashed: Crashed
) -> web.Application:
    """Return the admin plane's application, for the Unix socket and for TCP alike."""
    operations = all_routes(plane)
    document = json.dumps(openapi.document(operations)).encode()

    async def spec(_request: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    async def metrics(request: web.Request) -> web.Response:
        require(request[SUBJECT], VIEWER, SITE_PLACE)
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        state = await plane.status()
        text = "ready\n" if state.ready else "".join(f"{one}\n" for one in state.problems)
        return web.Response(status=200 if state.ready else 503, text=text)

    guards = [request_ids, problems(crashed), middleware(gate)]
    app = web.Application(middlewares=guards, client_max_size=MAX_BODY)
    install(app, operations, plane.current, plane.committer, plane.repeats)
    app.router.add_get(PREFIX + "/openapi.json", spec)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", health)
    app.router.add_get("/readyz", ready)
    return app
