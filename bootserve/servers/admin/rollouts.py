"""Rollouts: begun, looked at, and told what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bootserve.core.access import SITE_PLACE, Place, place_of_scope
from bootserve.core.rollout_plan import RolloutPlan
from bootserve.errors import NotFound
from bootserve.model.desired import DesiredState, Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.rollout import IN_FLIGHT, CountedRollout, Member, MemberState, Policy, Rollout
from bootserve.servers.admin.needs import OPERATOR, VIEWER, anywhere, pinned, places
from bootserve.servers.admin.paging import named_page, next_of, older, unhurried
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas_rollout import (
    AbortBody,
    MemberList,
    MemberOut,
    MemberQuery,
    PolicyOut,
    RolloutBody,
    RolloutList,
    RolloutOut,
    RolloutQuery,
    RolloutShown,
    RolloutStarted,
    StageOut,
    StoryOut,
)

__all__ = ["routes"]

MAX_UNSETTLED = 100
MAX_STORY = 200
TOLD = IN_FLIGHT | {MemberState.FAILED, MemberState.LEFT}


def _fields(rollout: Rollout) -> dict[str, Any]:
    return _counted(CountedRollout.of(rollout))


def _counted(found: CountedRollout) -> dict[str, Any]:
    rollout, policy = found.rollout, found.rollout.policy
    counts = [Counter[MemberState]() for _ in rollout.stages]
    for (stage, state, _), nodes in found.counts.items():
        counts[stage][state] += nodes
    return {
        "number": rollout.number,
        "scope": str(rollout.scope),
        "generation": str(rollout.generation),
        "state": rollout.state,
        "reason": rollout.reason,
        "stage": rollout.stage + 1,
        "stages": [StageOut(nodes=one.total(), counts=dict(one)) for one in counts],
        "policy": PolicyOut(
            max_unavailable=policy.max_unavailable,
            soak=policy.soak,
            success=policy.success,
            reboot=policy.method,
            on_failure=policy.on_failure,
            stage_timeout=policy.stage_timeout,
            node_timeout=policy.node_timeout,
        ),
        "nodes": sum(found.counts.values()),
        "counts": dict(sum(counts, Counter())),
        "holds_nodes": found.open,
        "created_at": rollout.created_at,
        "created_by": rollout.created_by,
        "stage_since": rollout.stage_since,
        "paused_at": rollout.paused_at,
        "ended_at": rollout.ended_at,
    }


def _member(member: Member) -> MemberOut:
    return MemberOut(
        node=member.node,
        stage=member.stage + 1,
        state=member.state,
        since=member.since,
        attempt=member.attempt,
        pinned=member.pinned,
        detail=member.detail,
    )


def _policy(body: RolloutBody) -> Policy:
    return Policy(
        soak=body.soak,
        success=body.success,
        method=body.reboot,
        on_failure=body.on_failure,
        stage_timeout=body.stage_timeout,
        node_timeout=body.node_timeout,
    )


def _number(call: Call[Any, Any]) -> int:
    """Return the rollout's number in the path; raises NotFound for what is none."""
    text = call.path["number"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise NotFound(f"there is no rollout {text[:40]!r}", hint="See 'bootserve rollout list'.")
    return int(text)


class _Rollouts:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane
        self._desk = plane.rollouts

    def place(self, state: DesiredState, call: Call[Any, Any]) -> Iterable[Place]:
        """Return where a rollout lies: its scope, or the site once it is over."""
        number = _number(call)
        for one in self._desk.open():
            if one.number == number:
                return [place_of_scope(state, one.scope)]
        return [SITE_PLACE]

    def _sees(self, call: Call[Any, Any], rollout: Rollout) -> bool:
        nodes = self._plane.current.snapshot.state.nodes
        return any(call.sees(nodes.get(name)) for name in rollout.members)

    async def _seen(self, call: Call[Any, Any]) -> Rollout:
        """Return the rollout of the path, if whoever asks may see one of its nodes."""
        number = _number(call)
        rollout = await self._desk.show(number)
        if not self._sees(call, rollout):
            raise NotFound(f"there is no rollout {number}", hint="See 'bootserve rollout list'.")
        return rollout

    async def list_all(self, call: Call[Request, RolloutQuery]) -> RolloutList:
        query = call.query
        found = await self._desk.list(query.limit, older(query, int))
        more = next_of(found, lambda one: one.rollout.number, query)
        if not call.sees_all():
            found = await self._seen_of(call, found)
        return RolloutList(next=more, rollouts=[RolloutOut(**_counted(one)) for one in found])

    async def _seen_of(
        self, call: Call[Any, Any], found: Sequence[CountedRollout]
    ) -> Sequence[CountedRollout]:
        """Return those of ``found`` of which whoever asks may see a node."""
        snapshot = self._plane.current.snapshot
        nodes = snapshot.state.nodes
        own = [name async for name in unhurried(snapshot.fleet.names) if call.sees(nodes[name])]
        seen = await self._desk.with_nodes([one.rollout.number for one in found], own)
        return [one for one in found if one.rollout.number in seen]

    async def start(self, call: Call[RolloutBody, NoQuery]) -> RolloutStarted:
        body, desk = call.body, self._desk
        scope, generation = Scope.parse(body.scope), GenerationRef.parse(body.generation)
        asked = (scope, generation, body.stages, body.max_unavailable)
        plan = desk.plan(*asked, _policy(body))
        if not body.dry_run:
            made = await desk.start(*asked, _policy(body), call.subject, base=call.base)
            plan = RolloutPlan(made, plan.left_out)
        left_out = {why: list(names) for why, names in plan.left_out.items()}
        return RolloutStarted(**_fields(plan.rollout), left_out=left_out)

    async def show(self, call: Call[Request, NoQuery]) -> RolloutShown:
        rollout = await self._seen(call)
        nodes = self._plane.current.snapshot.state.nodes
        told = [one for one in rollout.members.values() if one.state in TOLD]
        seen = [one for one in told if call.sees(nodes.get(one.node))]
        story = await self._desk.events(rollout.number, MAX_STORY)
        return RolloutShown(
            **_fields(rollout),
            unsettled=[_member(one) for one in seen[:MAX_UNSETTLED]],
            story=[
                StoryOut(at=one.at, text=one.text, node=one.node, revision=one.revision)
                for one in story
                if not one.node or call.sees(nodes.get(one.node))
            ],
        )

    async def members(self, call: Call[Request, MemberQuery]) -> MemberList:
        rollout, query = await self._seen(call), call.query
        nodes = self._plane.current.snapshot.state.nodes

        def look(name: str) -> MemberOut | None:
            one = rollout.members[name]
            told = query.state in (None, one.state) and call.sees(nodes.get(name))
            return _member(one) if told else None

        shown, more = await named_page(sorted(rollout.members), look, query)
        return MemberList(rollout=rollout.number, nodes=shown, next=more)

    async def pause(self, call: Call[Request, NoQuery]) -> RolloutOut:
        made = await self._desk.pause(_number(call), call.subject, base=call.base)
        return RolloutOut(**_fields(made))

    async def resume(self, call: Call[Request, NoQuery]) -> RolloutOut:
        made = await self._desk.resume(_number(call), call.subject, base=call.base)
        return RolloutOut(**_fields(made))

    async def retry(self, call: Call[Request, NoQuery]) -> RolloutOut:
        made = await self._desk.retry(
            _number(call), call.subject, guarded=call.guarded, base=call.base
        )
        return RolloutOut(**_fields(made))

    async def abort(self, call: Call[AbortBody, NoQuery]) -> RolloutOut:
        made = await self._desk.abort(
            _number(call),
            call.subject,
            keep=call.body.keep_pins,
            guarded=call.guarded,
            base=call.base,
        )
        return RolloutOut(**_fields(made))


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of rollouts."""
    rollouts = _Rollouts(plane)
    one = "/rollouts/{number}"
    its_own = places(OPERATOR, rollouts.place, "the rollout's scope; of the site once it is over")
    return [
        Route(
            "GET",
            "/rollouts",
            "List rollouts",
            rollouts.list_all,
            RolloutList,
            query=RolloutQuery,
            needs=anywhere(VIEWER),
        ),
        Route(
            "POST",
            "/rollouts",
            "Begin a rollout",
            rollouts.start,
            RolloutStarted,
            RolloutBody,
            status=201,
            needs=pinned(OPERATOR, lambda call: call.body.scope),
        ),
        Route("GET", one, "Show a rollout", rollouts.show, RolloutShown, needs=anywhere(VIEWER)),
        Route(
            "GET",
            one + "/nodes",
            "List a rollout's nodes",
            rollouts.members,
            MemberList,
            query=MemberQuery,
            needs=anywhere(VIEWER),
        ),
        *_orders(rollouts, one, its_own),
    ]


def _orders(rollouts: _Rollouts, one: str, its_own: Any) -> list[Route]:
    return [
        Route("POST", one + "/pause", "Pause it", rollouts.pause, RolloutOut, needs=its_own),
        Route("POST", one + "/resume", "Go on with it", rollouts.resume, RolloutOut, needs=its_own),
        Route("POST", one + "/retry", "Try again", rollouts.retry, RolloutOut, needs=its_own),
        Route(
            "POST", one + "/abort", "End it", rollouts.abort, RolloutOut, AbortBody, needs=its_own
        ),
    ]
