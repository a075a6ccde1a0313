"""Rollouts: begun, told what to do by admins, and taken on step by step.

Every step is worked out by ``core/rollout`` from what is stored, and is stored with its revision in
one transaction before anything follows from it: a server that is killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from bootserve.core.rollout import Step, abort, advance, halt, pause, resume, retry
from bootserve.core.rollout_plan import RolloutPlan, plan_rollout
from bootserve.core.transactions import Change
from bootserve.core.vigil import Vigil
from bootserve.errors import BootserveError, Conflict, StorageFull, Unavailable
from bootserve.model.desired import Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.reboot import Rebooter, RebootMethod
from bootserve.model.rollout import (
    FINAL,
    CountedRollout,
    MemberState,
    Policy,
    Rollout,
    RolloutEvent,
    RolloutState,
    Sighting,
)
from bootserve.servers.committer import Committed, Committer
from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.servers.rollouts.tasks import RebootTasks
from bootserve.store.desired import AlsoWrite
from bootserve.store.rollouts import RolloutStore, save_step

__all__ = ["Guarded", "Recalled", "RolloutDesk", "Sightings"]

Sightings = Callable[[Iterable[str]], Mapping[str, Sighting]]
"""Returns what nodes last said of themselves, by name; those that never spoke are left out."""

Recalled = Callable[[Sequence[str]], Awaitable[None]]
"""Has it ready what these nodes had reported before this server started."""

Guarded = Callable[[Change], Change]
"""Makes a change that is refused where it goes beyond who asks for it."""

REBOOTING = (MemberState.BEFORE, MemberState.REBOOTING, MemberState.AFTER)
RETRY_SECONDS = 2.0
SLICE = 500
"""So many nodes are looked at before nodes that ask for something are answered."""
Verb = Callable[[Rollout], Step]


def _as_is(change: Change) -> Change:
    return change


class RolloutDesk:
    """The rollouts that hold nodes, by number, each as it is stored.

    ``seconds`` is how often they are looked at; ``changed`` is called with all of them when they
    are more or fewer, so that others know which nodes are in one; ``retried`` with nodes that are
    to be tried again, and by whom. ``log`` is a structlog logger.
    """

    def __init__(
        self,
        store: RolloutStore,
        database: DatabaseThread,
        committer: Committer,
        current: Current,
        sightings: Sightings,
        recall: Recalled,
        rebooter: Rebooter,
        log: Any,
        *,
        seconds: float = 5.0,
        changed: Callable[[Iterable[Rollout]], None] = lambda _: None,
        retried: Callable[[Iterable[str], str], None] = lambda _nodes, _by: None,
    ) -> None:
        self._store = store
        self._database = database
        self._committer = committer
        self._current = current
        self._sightings = sightings
        self._recall = recall
        self._log = log
        self._seconds = seconds
        self._changed = changed
        self._retried = retried
        self._lock = asyncio.Lock()
        self._woken = asyncio.Event()
        self._vigil = Vigil()
        self._tasks = RebootTasks(rebooter, self._woken.set, log)
        self._known: dict[int, Rollout] = {}
        self._loaded = False

    def open(self) -> list[Rollout]:
        """Return the rollouts that hold nodes, the oldest first."""
        return [self._known[number] for number in sorted(self._known)]

    async def run(self) -> None:
        """Take the rollouts on, until cancelled; what fails is tried again, say SQL."""
        try:
            while True:
                self._woken.clear()
                try:
                    await self.tick()
                    pause = self._seconds
                except BootserveError as error:
                    self._log.error("rollout", error=str(error))
                    pause = max(RETRY_SECONDS, self._seconds)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), pause)
        finally:
            await self._tasks.stop()

    async def tick(self) -> None:
        """Take each rollout as far as it goes now."""
        async with self._lock:
            since = self._vigil.since(time.time(), time.monotonic())
            await self._load()
            for rollout in self.open():
                try:
                    await self._advance(rollout, since)
                except (Unavailable, StorageFull):
                    raise
                except Conflict:  # another commit, or another server, was faster
                    await self._reload(rollout.number)
                except BootserveError as error:
                    await self._halt(rollout, error)

    async def load(self) -> None:
        """Take in where rollouts were when the server stopped; raises Unavailable."""
        async with self._lock:
            await self._load()

    async def _load(self) -> None:
        if not self._loaded:
            for rollout in await self._database.run(self._store.unfinished):
                await self._recall(list(rollout.members))
                self._take(rollout)
            self._loaded = True

    async def _reload(self, number: int) -> None:
        self._take(await self._database.run(self._store.load, number))
        self._woken.set()

    async def _advance(self, rollout: Rollout, since: float) -> None:
        """Take ``rollout`` on, by as many steps as it makes at this moment."""
        while rollout.open:
            snapshot, seen = self._current.snapshot, await self._seen(rollout)
            outcomes = self._tasks.outcomes(rollout.number)
            step = await asyncio.to_thread(
                advance, rollout, snapshot.state, seen, time.time(), outcomes, since=since
            )
            if step.empty:
                self._tasks.match(rollout)
                return
            rollout = await self._apply(
                rollout, step, rollout.created_by, base=snapshot.revision.number
            )

    async def _seen(self, rollout: Rollout) -> dict[str, Sighting]:
        """Return what the nodes that the rollout waits for said, gathered in slices."""
        names = [
            one.node
            for one in rollout.members.values()
            if one.stage <= rollout.stage and one.state not in FINAL
        ]
        found: dict[str, Sighting] = {}
        for place in range(0, len(names), SLICE):
            found.update(self._sightings(names[place : place + SLICE]))
            await asyncio.sleep(0)
        return found

    async def _apply(
        self,
        before: Rollout,
        step: Step,
        by: str,
        *,
        base: int | None = None,
        guarded: Guarded = _as_is,
    ) -> Rollout:
        """Store ``step`` with its revision, if it makes one, and do what follows from it."""
        revision = 0
        if step.pins is None:
            await self._database.run(self._store.save, before, step, by)
        else:
            result = await self._committer.commit(
                guarded(step.pins.change),
                author=by,
                message=step.pins.message,
                base=base,
                also=partial(_also, before, step, by),
            )
            revision = result.revision.number
        self._take(step.rollout)
        for event in step.events:
            self._told(step.rollout, event, revision)
        return step.rollout

    def _told(self, rollout: Rollout, event: RolloutEvent, revision: int) -> None:
        bad = rollout.state in (RolloutState.FAILED, RolloutState.PAUSED)
        log = self._log.warning if bad else self._log.info
        fields: dict[str, Any] = {"node": event.node} if event.node else {}
        if revision and not event.node:
            fields["revision"] = revision
        log("rollout", rollout=rollout.number, detail=event.text, **fields)

    def _take(self, rollout: Rollout) -> None:
        """Keep ``rollout`` while it holds nodes, and have its parts under way."""
        before = self._known.get(rollout.number)
        if rollout.open:
            self._known[rollout.number] = rollout
        else:
            self._known.pop(rollout.number, None)
        self._tasks.match(rollout)
        if before is None or not rollout.open:
            self._changed(self._known.values())

    async def _halt(self, rollout: Rollout, error: BootserveError) -> None:
        """Pause a rollout whose step is refused."""
        self._log.error("rollout", rollout=rollout.number, error=str(error))
        found = self._known.get(rollout.number, rollout)
        if found.state is RolloutState.RUNNING:
            await self._apply(found, halt(found, time.time(), str(error)), found.created_by)

    def plan(
        self,
        scope: Scope,
        generation: GenerationRef,
        stages: str,
        unavailable: str,
        policy: Policy,
    ) -> RolloutPlan:
        """Return what a rollout would be now; raises what :func:`plan_rollout` raises.

        ``unavailable`` is put in place of what ``policy`` has. Conflict, with the number of the
        first, when another rollout holds one of its nodes.
        """
        plan = plan_rollout(self._current.snapshot, scope, generation, stages, unavailable)
        self._check_overlap(plan.rollout)
        policy = replace(policy, max_unavailable=plan.rollout.policy.max_unavailable)
        return replace(plan, rollout=replace(plan.rollout, policy=policy))

    def _check_overlap(self, wanted: Rollout) -> None:
        for other in self.open():
            shared = wanted.members.keys() & other.members.keys()
            if other.number != wanted.number and shared:
                some = min(shared)
                more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
                raise Conflict(
                    f"rollout {other.number} of {other.generation} has {some}{more} already",
                    hint=f"Wait for it, or end it: bootserve rollout abort {other.number}.",
                )

    def check_free(self, node: str) -> None:
        """Raise Conflict, with the number, while a rollout is rebooting ``node``."""
        for rollout in self.open():
            member = rollout.members.get(node)
            asked = rollout.policy.method is not RebootMethod.NONE
            if asked and member is not None and member.state in REBOOTING:
                raise Conflict(
                    f"rollout {rollout.number} is rebooting node {node}",
                    hint=f"'bootserve rollout status {rollout.number}' shows how far it is.",
                )

    async def start(
        self,
        scope: Scope,
        generation: GenerationRef,
        stages: str,
        unavailable: str,
        policy: Policy,
        by: str,
        *,
        base: int | None = None,
    ) -> Rollout:
        """Begin a rollout as :meth:`plan` says, whose errors it raises.

        ``base`` is for this and all that follow the revision that whoever asks has seen:
        PreconditionFailed when it is not the current one.
        """
        async with self._lock:
            await self._load()
            await self._committer.check_base(base)
            planned = self.plan(scope, generation, stages, unavailable, policy).rollout
            planned = replace(planned, created_at=time.time(), created_by=by)
            await self._recall(list(planned.members))
            made = await self._database.run(self._store.create, planned)
            self._take(made)
        self._log.info(
            "rollout",
            rollout=made.number,
            detail=f"{made.scope} to {made.generation}, {len(made.members)} nodes",
            by=by,
        )
        self._woken.set()
        return made

    async def pause(self, number: int, by: str, *, base: int | None = None) -> Rollout:
        """Ask no more nodes; raises NotFound, and Conflict unless it is running."""
        return await self._order(number, by, lambda one: pause(one, time.time(), by), base=base)

    async def resume(self, number: int, by: str, *, base: int | None = None) -> Rollout:
        """Go on with a paused rollout; raises NotFound and Conflict."""

        def verb(rollout: Rollout) -> Step:
            return resume(rollout, self._current.snapshot.state, time.time(), by)

        return await self._order(number, by, verb, base=base)

    async def retry(
        self, number: int, by: str, *, guarded: Guarded = _as_is, base: int | None = None
    ) -> Rollout:
        """Try the nodes again that failed, or a whole stage that did; NotFound and Conflict."""

        def verb(rollout: Rollout) -> Step:
            self._check_overlap(rollout)
            return retry(rollout, self._current.snapshot.state, time.time(), by)

        made = await self._order(number, by, verb, guarded, base)
        self._retried([one.node for one in made.members.values() if one.stage == made.stage], by)
        return made

    async def abort(
        self,
        number: int,
        by: str,
        *,
        keep: bool,
        guarded: Guarded = _as_is,
        base: int | None = None,
    ) -> Rollout:
        """End it for good, its pins put back or with ``keep`` not; NotFound and Conflict."""

        def verb(rollout: Rollout) -> Step:
            return abort(rollout, self._current.snapshot.state, time.time(), by, keep=keep)

        return await self._order(number, by, verb, guarded, base)

    async def _order(
        self,
        number: int,
        by: str,
        verb: Verb,
        guarded: Guarded = _as_is,
        base: int | None = None,
    ) -> Rollout:
        async with self._lock:
            await self._load()
            rollout = await self.show(number)
            await self._committer.check_base(base)
            now = self._current.snapshot.revision.number
            try:
                made = await self._apply(rollout, verb(rollout), by, base=now, guarded=guarded)
            except Conflict:
                await self._reload(number)
                raise
        self._woken.set()
        return made

    async def show(self, number: int) -> Rollout:
        """Return one rollout as it is now; raises NotFound."""
        if number in self._known:
            return self._known[number]
        return await self._database.run(self._store.load, number)

    async def list(self, limit: int, before: int | None) -> Sequence[CountedRollout]:
        """Return rollouts, the newest first, with numbers below ``before``."""
        return await self._database.run(self._store.list, limit=limit, before=before)

    async def with_nodes(self, numbers: Iterable[int], nodes: Sequence[str]) -> Set[int]:
        """Return those of the rollouts ``numbers`` that one of ``nodes`` is or was in."""
        return await self._database.run(self._store.with_nodes, numbers, nodes)

    async def events(self, number: int, limit: int) -> Sequence[RolloutEvent]:
        """Return the end of a rollout's story."""
        return await self._database.run(self._store.events, number, limit=limit)


def _also(before: Rollout, step: Step, by: str, made: Committed) -> AlsoWrite:
    """Return what is written of ``step`` in the transaction of its revision."""
    return partial(_write, before, step, by, made.revision.number)


def _write(before: Rollout, step: Step, by: str, revision: int, connection: Connection) -> None:
    save_step(connection, before, step, by, revision)
