"""Drift: which nodes are stale, altered or silent, and what was altered on them."""

from __future__ import annotations

import time

from bootserve.core.access import SITE_PLACE, Place
from bootserve.core.diffs import ChangedFile
from bootserve.core.drift import Verdict, judge
from bootserve.core.heartbeats import Running
from bootserve.errors import Conflict
from bootserve.model.desired import DesiredState, Scope, ScopeKind
from bootserve.servers.admin.needs import OPERATOR, VIEWER, node, places
from bootserve.servers.admin.paging import named_page, unhurried
from bootserve.servers.admin.plane import AdminPlane, find_plan
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas_drift import (
    ChangeOut,
    DiffBody,
    DiffOut,
    DriftList,
    DriftOut,
    DriftQuery,
    EntryOut,
    NodeDriftOut,
    RunningOut,
)

__all__ = ["routes"]


def _running_out(running: Running) -> RunningOut:
    return RunningOut(
        boot=running.boot,
        generation=str(running.generation),
        root=running.root,
        up_since=running.up_since,
        last_seen=running.last_seen,
        uptime=running.uptime,
        interval=running.interval,
        heartbeats=running.agent,
        clock_offset=running.offset,
        drift_since=running.drift_since if running.count else None,
        rebooting=running.rebooting,
    )


def _drift_out(verdict: Verdict) -> DriftOut:
    running = verdict.running
    return DriftOut(
        node=verdict.plan.node.name,
        rack=verdict.plan.node.rack,
        states=list(verdict.reasons),
        reasons=list(verdict.reasons.values()),
        altered=running.count if running else 0,
        running=_running_out(running) if running else None,
    )


def _diff_out(name: str, path: str, running: Running, file: ChangedFile | None) -> DiffOut:
    if file is None:
        return DiffOut(node=name, path=path, sent=False, due=_due(running))
    binary = b"\0" in (file.lower or b"") + (file.upper or b"")
    return DiffOut(
        node=name,
        path=path,
        sent=True,
        at=file.at,
        image=None if binary else _text(file.lower),
        now=None if binary else _text(file.upper),
        cut=file.cut,
        binary=binary,
        kept_back=file.lower is None and file.upper is None,
    )


def _due(running: Running) -> float:
    """Return in how many seconds the node's next heartbeat is due."""
    return max(0.0, running.last_seen + running.interval - time.time())


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


class _Drift:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane
        self._sight = plane.drift

    def _verdict(self, name: str) -> Verdict:
        plan = find_plan(self._plane.current.snapshot, name)
        return judge(plan, self._sight.book.of(name), time.time(), self._sight.watch())

    async def list(self, call: Call[Request, DriftQuery]) -> DriftList:
        snapshot, query, now = self._plane.current.snapshot, call.query, time.time()
        book, watch, nodes = self._sight.book, self._sight.watch(), snapshot.state.nodes

        def look(name: str) -> DriftOut | None:
            verdict = judge(snapshot.plan_of(nodes[name]), book.of(name), now, watch)
            return _drift_out(verdict) if verdict.reasons or query.all else None

        names = [
            name
            async for name in unhurried(snapshot.fleet.names)
            if query.rack in ("", nodes[name].rack) and call.sees(nodes[name])
        ]
        reporting = [name async for name in unhurried(names) if book.of(name) is not None]
        shown, more = await named_page(names if query.all else reporting, look, query)
        return DriftList(
            next=more,
            nodes=shown,
            reporting=len(reporting),
            never_reported=len(names) - len(reporting),
        )

    async def show(self, call: Call[Request, NoQuery]) -> NodeDriftOut:
        name = call.path["name"]
        verdict = self._verdict(name)
        await self._plane.flush()
        history = await self._plane.database.run(self._sight.store.history, name)
        running = verdict.running
        entries = running.entries if running else ()
        return NodeDriftOut(
            **_drift_out(verdict).model_dump(),
            entries=[EntryOut.model_validate(one, from_attributes=True) for one in entries],
            history=[
                ChangeOut(
                    at=one.at,
                    boot=one.boot,
                    state=one.state,
                    count=one.count,
                    paths=[entry.path for entry in one.entries[:20]],
                )
                for one in history
            ],
        )

    async def diff(self, call: Call[DiffBody, NoQuery]) -> DiffOut:
        name, path = call.path["name"], call.body.file
        running = self._verdict(name).running
        self._sight.diffs.check(path)
        if running is None or path not in {one.path for one in running.entries}:
            raise Conflict(
                f"{path} is not among what was altered on {name}",
                hint=f"'bootserve drift {name}' lists that.",
            )
        file = self._sight.diffs.ask(name, running.boot, path)
        return _diff_out(name, path, running, file)


def _asked_place(_state: DesiredState, call: Call[Request, DriftQuery]) -> list[Place]:
    rack = call.query.rack
    return [SITE_PLACE | {Scope(ScopeKind.RACK, rack)}] if rack else []


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of drift."""
    drift = _Drift(plane)
    one = "/nodes/{name}/drift"
    return [
        Route(
            "GET",
            "/drift",
            "List nodes that are stale, altered or silent",
            drift.list,
            DriftList,
            query=DriftQuery,
            needs=places(VIEWER, _asked_place, "the rack asked for"),
        ),
        Route("GET", one, "A node's drift", drift.show, NodeDriftOut, needs=node(VIEWER)),
        Route(
            "POST",
            f"{one}/diff",
            "Have a node send a changed file",
            drift.diff,
            DiffOut,
            DiffBody,
            needs=node(OPERATOR),
        ),
    ]
