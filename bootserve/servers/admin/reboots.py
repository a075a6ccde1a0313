"""Reboots of single nodes, reboots on record, and hooks."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from bootserve.core.access import SITE_PLACE, Place, covers, place_of_node, scopes_of
from bootserve.core.hooks import outline_of, without_userinfo
from bootserve.core.reboots import trial_of
from bootserve.errors import NotFound
from bootserve.model.desired import DesiredState
from bootserve.model.hooks import Hook
from bootserve.model.reboot_record import Reboot, RebootShown
from bootserve.servers.admin.needs import OPERATOR, VIEWER, anywhere, node, places
from bootserve.servers.admin.paging import next_of, older
from bootserve.servers.admin.plane import AdminPlane, find_plan
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas_reboots import (
    HookList,
    HookOut,
    HookTestBody,
    HookTestOut,
    RebootBody,
    RebootList,
    RebootOut,
    RebootQuery,
)
from bootserve.servers.reboots.hooks import call_hook

__all__ = ["routes"]


def _out(shown: RebootShown) -> RebootOut:
    reboot = shown.reboot
    runs = [asdict(run) for run in shown.runs]
    return RebootOut.model_validate({**asdict(reboot), "done": reboot.done, "runs": runs})


def _hook_out(hook: Hook, *, whole: bool) -> HookOut:
    more = {"run": hook.run, "url": without_userinfo(hook.url)} if whole else {}
    return HookOut.model_validate({**outline_of(hook), **more})


def _of_body(state: DesiredState, call: Call[Any, Any]) -> list[Place]:
    return [place_of_node(state.nodes.get(call.body.node))]


class _Reboots:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane
        self._reboots = plane.reboots

    async def start(self, call: Call[RebootBody, NoQuery]) -> RebootOut:
        plan = find_plan(self._plane.current.snapshot, call.path["name"])
        body = call.body
        self._plane.rollouts.check_free(plan.node.name)
        started = await self._reboots.desk.start(plan, body.by, call.subject, hooks=body.hooks)
        return _out(RebootShown(started))

    async def cancel(self, call: Call[Request, NoQuery]) -> RebootOut:
        reboot = await self._reboots.desk.cancel(call.path["name"], call.subject)
        return _out(await self._get(reboot))

    async def _get(self, reboot: Reboot) -> RebootShown:
        return await self._plane.database.run(self._reboots.store.get, reboot.id)

    async def list_all(self, call: Call[Request, RebootQuery]) -> RebootList:
        query, nodes = call.query, self._plane.current.snapshot.state.nodes
        found = await self._plane.database.run(
            self._reboots.store.list,
            node=query.node,
            rollout=query.rollout,
            limit=query.limit,
            before=older(query, tuple),
            within=scopes_of(call.who, VIEWER),
        )
        more = next_of(found, lambda one: (one.reboot.asked_at, one.reboot.id), query)
        if not found and query.node is not None and query.node not in nodes:
            raise NotFound(f"there is no node {query.node}", hint="See 'bootserve node list'.")
        return RebootList(next=more, reboots=[_out(one) for one in found])

    async def show(self, call: Call[Request, NoQuery]) -> RebootOut:
        name = call.path["id"]
        shown = await self._plane.database.run(self._reboots.store.get, name)
        if not call.sees(self._plane.current.snapshot.state.nodes.get(shown.reboot.node)):
            raise NotFound(f"there is no reboot {name}", hint="See 'bootserve reboots'.")
        return _out(shown)

    async def hooks(self, call: Call[Request, NoQuery]) -> HookList:
        whole = covers(call.who, VIEWER, SITE_PLACE)
        return HookList(hooks=[_hook_out(one, whole=whole) for one in self._reboots.hooks.hooks])

    async def test(self, call: Call[HookTestBody, NoQuery]) -> HookTestOut:
        hook = self._reboots.hooks.find(call.path["name"])
        plan = find_plan(self._plane.current.snapshot, call.body.node)
        began = time.monotonic()
        result = await call_hook(hook, trial_of(hook, plan.node, time.time()))
        return HookTestOut(
            hook=hook.name,
            node=plan.node.name,
            outcome=result.outcome,
            detail=result.detail,
            output=result.output,
            seconds=time.monotonic() - began,
        )


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of reboots and hooks."""
    reboots = _Reboots(plane)
    one = "/nodes/{name}/reboot"
    return [
        Route(
            "POST",
            one,
            "Reboot a node",
            reboots.start,
            RebootOut,
            RebootBody,
            status=202,
            needs=node(OPERATOR),
        ),
        Route(
            "DELETE",
            one,
            "Leave its reboot off",
            reboots.cancel,
            RebootOut,
            needs=node(OPERATOR),
        ),
        Route(
            "GET",
            "/reboots",
            "List reboots",
            reboots.list_all,
            RebootList,
            query=RebootQuery,
            needs=anywhere(VIEWER),
        ),
        Route(
            "GET", "/reboots/{id}", "One reboot", reboots.show, RebootOut, needs=anywhere(VIEWER)
        ),
        Route("GET", "/hooks", "List hooks", reboots.hooks, HookList, needs=anywhere(VIEWER)),
        Route(
            "POST",
            "/hooks/{name}/test",
            "Call a hook, to try it",
            reboots.test,
            HookTestOut,
            HookTestBody,
            needs=places(OPERATOR, _of_body, "the node"),
        ),
    ]
