"""What a node waits for: loops and their release, one-shot actions."""

from __future__ import annotations

import secrets
import time

from bootserve.core.once import once_plan
from bootserve.core.resolve import Action
from bootserve.core.snapshot import NodePlan
from bootserve.errors import InvalidInput, NotFound, Refused
from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.model.degraded import Degraded
from bootserve.model.generation import GenerationRef
from bootserve.model.once import BootOnce, OnceAction, OnceOutcome, check_script
from bootserve.servers.admin.needs import OPERATOR, VIEWER, node
from bootserve.servers.admin.plane import AdminPlane, find_plan
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas_live import OnceBody, OnceList, OnceOut, ReleaseOut
from bootserve.store.once import OnceHistory

__all__ = ["degraded_of", "degraded_text", "once_out", "routes", "waits_of"]


def waits_of(plane: AdminPlane, plan: NodePlan) -> str:
    """Return why the node, being in a loop, gets nothing now, and for how long; empty otherwise."""
    waiting = plane.guards.loops.waiting(plan.node.macs, time.monotonic())
    if waiting is None:
        return ""
    return f"{waiting.reason}; it waits {waiting.seconds:.0f} s more"


def degraded_of(plane: AdminPlane, node: str) -> str:
    """Return why ``node`` is given its last known good generation, and which; empty otherwise."""
    mark = plane.guards.known_good.of(node)
    return degraded_text(mark) if mark else ""


def degraded_text(mark: Degraded) -> str:
    """Return in words what a node is degraded by."""
    return f"{mark.generation} in place of {mark.instead_of}: {mark.reason}"


def once_out(once: BootOnce | None) -> OnceOut | None:
    """Return what waits for a node's next boot as the API shows it."""
    return None if once is None else _out(OnceHistory(once, OnceOutcome.PENDING))


def _out(seen: OnceHistory) -> OnceOut:
    once = seen.once
    return OnceOut(
        id=once.id,
        node=once.node,
        action=once.action,
        generation=once.generation,
        script=once.script,
        set_by=once.set_by,
        set_at=once.set_at,
        outcome=seen.outcome,
        ended_at=seen.ended_at,
        ended_by=seen.ended_by,
        mac=seen.mac,
        address=seen.address,
        boot=seen.boot,
    )


def _once_of(plan: NodePlan, body: OnceBody, by: str) -> BootOnce:
    """Return the action that ``body`` describes; raises InvalidInput."""
    if bool(body.generation) != (body.action is OnceAction.GENERATION):
        raise InvalidInput("generation goes with the action generation, and with that alone")
    if bool(body.script) != (body.action is OnceAction.SCRIPT):
        raise InvalidInput("script goes with the action script, and with that alone")
    return BootOnce(
        id=secrets.token_hex(16),
        node=plan.node.name,
        action=body.action,
        generation=str(GenerationRef.parse(body.generation)) if body.generation else "",
        script=check_script(body.script) if body.script else "",
        set_by=by,
        set_at=time.time(),
    )


class _Live:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    async def release(self, call: Call[Request, NoQuery]) -> ReleaseOut:
        plan = find_plan(self._plane.current.snapshot, call.path["name"])
        degraded = degraded_of(self._plane, plan.node.name)
        waited = "; ".join(filter(None, [waits_of(self._plane, plan), degraded]))
        node = plan.node
        about = (f"node/{node.name}", *([f"rack/{node.rack}"] if node.rack else []))
        revision = self._plane.current.snapshot.revision.number
        await self._plane.audit.record(
            AuditEntry(
                AuditKind.RELEASE,
                time.time(),
                call.subject,
                revision=revision,
                about=about,
                detail={"waited": waited},
            )
        )
        self._plane.guards.known_good.release(node.name, call.subject)
        for mac in node.macs:
            self._plane.guards.loops.release(mac)
        return ReleaseOut(node=plan.node.name, waited=waited)

    async def show(self, call: Call[Request, NoQuery]) -> OnceList:
        plane, name = self._plane, call.path["name"]
        find_plan(plane.current.snapshot, name)
        await plane.flush()
        history = await plane.database.run(plane.once_history.history, name)
        return OnceList(
            pending=once_out(plane.guards.once.pending(name)),
            history=[_out(one) for one in history],
        )

    async def put(self, call: Call[OnceBody, NoQuery]) -> OnceOut:
        snapshot = self._plane.current.snapshot
        plan = find_plan(snapshot, call.path["name"])
        once = _once_of(plan, call.body, call.subject)
        resolution = once_plan(plan, once, snapshot.generations).resolution
        if resolution.action is Action.UNRESOLVABLE:
            raise Refused(resolution.reason, hint="See 'bootserve image list'.")
        await self._plane.guards.once.put(once)
        return _out(OnceHistory(once, OnceOutcome.PENDING))

    async def cancel(self, call: Call[Request, NoQuery]) -> OnceOut:
        name = call.path["name"]
        find_plan(self._plane.current.snapshot, name)
        once = await self._plane.guards.once.cancel(name, call.subject)
        if once is None:
            raise NotFound(f"nothing waits for the next boot of {name}")
        return _out(OnceHistory(once, OnceOutcome.CANCELLED, time.time(), call.subject))


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of releases and one-shot actions."""
    live = _Live(plane)
    once = "/nodes/{name}/boot-once"
    return [
        Route(
            "POST",
            "/nodes/{name}/release",
            "Release a node from a loop's wait",
            live.release,
            ReleaseOut,
            needs=node(OPERATOR),
        ),
        Route(
            "GET",
            once,
            "What was set for a node's next boots",
            live.show,
            OnceList,
            needs=node(VIEWER),
        ),
        Route(
            "PUT",
            once,
            "Set what its next boot only does",
            live.put,
            OnceOut,
            OnceBody,
            needs=node(OPERATOR),
        ),
        Route(
            "DELETE",
            once,
            "Cancel what waits for its next boot",
            live.cancel,
            OnceOut,
            needs=node(OPERATOR),
        ),
    ]
