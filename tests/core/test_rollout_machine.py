"""Whatever happens in whatever order, a rollout keeps its promises: hypothesis plays the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from bootserve.core.rollout import Step, abort, advance, allowed_failures, pause, resume, retry
from bootserve.core.rollout_nodes import Outcome, due
from bootserve.core.rollout_plan import plan_rollout
from bootserve.core.transactions import pin, remove_node, unpin
from bootserve.errors import Conflict
from bootserve.model.desired import DesiredState, Pin, PinKey, Scope, ScopeKind
from bootserve.model.generation import GenerationRef
from bootserve.model.reboot import RebootMethod
from bootserve.model.rollout import (
    FINAL,
    IN_FLIGHT,
    Member,
    MemberState,
    Rollout,
    RolloutState,
    Sighting,
    StageFailure,
)
from tests.support.states import generation, node, snapshot, state

OLD, NEW, OTHER = (GenerationRef("web", number) for number in (1, 2, 3))
ROOTS = {one: generation(str(one)).manifest.artifacts["root"].sha256 for one in (OLD, NEW, OTHER)}
SCOPES = {"rack": Scope.parse("rack/r1"), "site": Scope.parse("site")}
SOAK = 60.0
NAMES = [f"n{number:02}" for number in range(12)]
PICK = st.integers(0, len(NAMES) - 1)


def own_pin(desired: DesiredState, name: str) -> GenerationRef | None:
    found = desired.pins.get(PinKey(Scope(ScopeKind.NODE, name), "web"))
    return found.generation if found else None


class RolloutMachine(RuleBasedStateMachine):
    """The world: a desired state, nodes that reboot, report and break, admins who interfere."""

    @initialize(
        scope=st.sampled_from(sorted(SCOPES)),
        stages=st.sampled_from(["1, 50%, 100%", "100%", "2, 4, 100%", "1, 10%, 50%, 100%"]),
        unavailable=st.sampled_from(["1", "2", "50%"]),
        success=st.sampled_from([1.0, 0.9, 0.5]),
        method=st.sampled_from([RebootMethod.NONE, RebootMethod.AGENT]),
        on_failure=st.sampled_from(list(StageFailure)),
    )
    def begin(
        self,
        scope: str,
        stages: str,
        unavailable: str,
        success: float,
        method: RebootMethod,
        on_failure: StageFailure,
    ) -> None:
        nodes = [
            node(name, f"52:54:00:00:00:{place:02x}", rack="r1", role="compute")
            for place, name in enumerate(NAMES)
        ]
        self.desired = state(*nodes, pins=f"{SCOPES[scope]} web@1; node/n03 web@3")
        current = snapshot(self.desired, *(generation(str(one)) for one in (OLD, NEW, OTHER)))
        planned = plan_rollout(current, SCOPES[scope], NEW, stages, unavailable).rollout
        policy = replace(
            planned.policy,
            success=success,
            method=method,
            on_failure=on_failure,
            soak=SOAK,
            node_timeout=300.0,
            stage_timeout=5000.0,
        )
        self.rollout: Rollout = replace(planned, number=1, policy=policy)
        self.first = self.desired
        self.now = self.since = 1000.0
        self.sightings: dict[str, Sighting] = {}
        self.boots = 0
        self.revisions = 0
        self.touched: set[str] = set()  # by admins
        self.outcomes: list[Outcome] = []

    # What the engine does.

    def take(self, step: Step) -> None:
        """Store a step as the engine would, checking that it accounts for itself."""
        before: Mapping[str, Member] = self.rollout.members
        for one in step.changed:
            ends = one.then if one.state is MemberState.AFTER else one.state
            ended = before[one.node].state in (MemberState.AFTER, MemberState.DONE)
            if ends is MemberState.DONE and not ended:
                self.check_done(one.node)
        changed = {one.node for one in step.changed}
        assert changed == {
            name for name, one in step.rollout.members.items() if before[name] != one
        }
        self.rollout = step.rollout
        if step.pins is not None:
            self.check_move(step, before)
            self.revisions += 1

    def check_done(self, name: str) -> None:
        """Done is who runs the generation's own root, and is known to have stayed up."""
        seen = self.sightings[name]
        assert (seen.generation, seen.root, seen.silent) == (NEW, ROOTS[NEW], False)
        start = max(seen.up_at, self.since)
        assert self.now - start >= SOAK
        if seen.agent:
            assert seen.heard_at - start >= SOAK, "no word of it since"
        else:
            assert not seen.newer_at, "it starts again"

    def check_move(self, step: Step, before: Mapping[str, Member]) -> None:
        """A move changes no pin but its own nodes', and the scope's when all is done."""
        assert step.pins is not None
        after = step.pins.change(self.desired)
        moved = {
            key.scope
            for key in after.pins.keys() | self.desired.pins.keys()
            if after.pins.get(key) != self.desired.pins.get(key)
        }
        own = {Scope(ScopeKind.NODE, one.node) for one in step.changed}
        if step.rollout.state is RolloutState.DONE:
            own.add(step.rollout.scope)
        assert moved <= own, moved - own
        for name in {scope.name for scope in moved if scope.kind is ScopeKind.NODE}:
            expected = NEW if before[name].pinned else before[name].before
            assert own_pin(self.desired, name) == expected, "a pin of an admin's was changed"
        assert after.nodes == self.desired.nodes
        self.desired = after

    @rule(seconds=st.sampled_from([1.0, 30.0, SOAK, 301.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        outcomes, self.outcomes = self.outcomes, []
        step = advance(
            self.rollout, self.desired, self.sightings, self.now, outcomes, since=self.since
        )
        if self.now - self.since < 300.0:
            assert not any("did not report up" in event.text for event in step.events)
        self.take(step)

    @rule(seconds=st.sampled_from([10.0, 10_000.0]))
    def the_server_was_away(self, seconds: float) -> None:
        self.now += seconds
        self.since = self.now

    @rule(pick=PICK, good=st.booleans())
    def part_ends(self, pick: int, good: bool) -> None:
        parts = due(self.rollout)
        if parts:
            part, task, _ = parts[pick % len(parts)]
            self.outcomes.append(Outcome(task.node, task.attempt, part, good, "said the test"))

    # What nodes do.

    @rule(pick=PICK, agent=st.booleans())
    def comes_up(self, pick: int, agent: bool) -> None:
        name = NAMES[pick]
        if name not in self.desired.nodes:
            return
        given = own_pin(self.desired, name) or self.scope_generation()
        self.boots += 1
        self.sightings[name] = Sighting(
            boot=str(self.boots),
            minted_at=self.now,
            generation=given,
            up_at=self.now,
            root=ROOTS[given],
            heard_at=self.now,
            agent=agent,
        )

    @rule(pick=PICK, agent=st.booleans())
    def one_that_the_rollout_waits_for_comes_up(self, pick: int, agent: bool) -> None:
        waits = [
            NAMES.index(one.node)
            for one in self.rollout.members.values()
            if one.pinned and one.state not in FINAL
        ]
        if waits:
            self.comes_up(waits[pick % len(waits)], agent)

    @rule()
    def all_that_are_up_send_heartbeats(self) -> None:
        for name, seen in self.sightings.items():
            if seen.agent and not seen.silent:
                self.sightings[name] = replace(seen, heard_at=self.now, newer_at=0.0)

    @rule(pick=PICK)
    def a_script_is_fetched(self, pick: int) -> None:
        """By the node, which does not come up by it, or by a forger."""
        members = self.rollout.members.values()
        soaking = [one.node for one in members if one.state is MemberState.SOAKING] or NAMES
        name = soaking[pick % len(soaking)]
        self.sightings[name] = replace(self.sightings.get(name, Sighting()), newer_at=self.now)

    @rule(pick=PICK)
    def lies_about_its_root(self, pick: int) -> None:
        self.boots += 1
        self.sightings[NAMES[pick]] = Sighting(
            str(self.boots), self.now, NEW, up_at=self.now, root=ROOTS[OLD]
        )

    @rule(pick=PICK, what=st.sampled_from(["silent", "degraded", "problem"]))
    def breaks(self, pick: int, what: str) -> None:
        name = NAMES[pick]
        seen = self.sightings.get(name, Sighting())
        changes: dict[str, Any] = {what: True if what == "silent" else "broken"}
        self.sightings[name] = replace(seen, failing=NEW, **changes)

    # What admins do.

    @rule(pick=PICK, to=st.sampled_from([OLD, OTHER]))
    def pins_by_hand(self, pick: int, to: GenerationRef) -> None:
        name = NAMES[pick]
        if name in self.desired.nodes:
            self.desired = pin(Pin(Scope(ScopeKind.NODE, name), to))(self.desired)
            self.touched.add(name)

    @rule(pick=PICK)
    def unpins_by_hand(self, pick: int) -> None:
        name = NAMES[pick]
        if own_pin(self.desired, name) is not None:
            self.desired = unpin(Scope(ScopeKind.NODE, name))(self.desired)
            self.touched.add(name)

    @precondition(lambda self: len(self.desired.nodes) > 9)
    @rule(pick=PICK)
    def removes(self, pick: int) -> None:
        if NAMES[pick] in self.desired.nodes:
            self.desired = remove_node(NAMES[pick])(self.desired)
            self.touched.add(NAMES[pick])

    @rule()
    def pauses_and_resumes(self) -> None:
        if self.rollout.state is RolloutState.RUNNING:
            self.take(pause(self.rollout, self.now, "the test"))
        elif self.rollout.state is RolloutState.PAUSED:
            self.take(resume(self.rollout, self.desired, self.now, "the test"))

    @rule()
    def retries(self) -> None:
        try:
            self.take(retry(self.rollout, self.desired, self.now, "the test"))
        except Conflict:
            assert self.rollout.state in (RolloutState.DONE, RolloutState.ABORTED)

    @precondition(lambda self: self.now > 3000)
    @rule(keep=st.booleans())
    def aborts(self, keep: bool) -> None:
        try:
            self.take(abort(self.rollout, self.desired, self.now, "the test", keep=keep))
        except Conflict:
            assert self.rollout.state in (RolloutState.DONE, RolloutState.ABORTED)

    # What must hold at any moment.

    def scope_generation(self) -> GenerationRef:
        return self.desired.pins[PinKey(self.rollout.scope, "web")].generation

    @invariant()
    def no_more_are_down_than_allowed(self) -> None:
        asked = [one for one in self.rollout.members.values() if one.attempt]
        under_way = [one for one in asked if one.state in IN_FLIGHT]
        assert len(under_way) <= self.rollout.policy.max_unavailable
        assert all(task.attempt > 0 for part, task, _ in due(self.rollout))

    @invariant()
    def pins_are_those_of_the_stages_entered(self) -> None:
        members = self.rollout.members.values()
        for one in members:
            if one.stage > self.rollout.stage:
                assert not one.pinned, one
            if one.pinned and one.node not in self.touched:
                assert own_pin(self.desired, one.node) == NEW, one
            if not one.pinned and one.node not in self.touched and not self.kept():
                assert own_pin(self.desired, one.node) == one.before, one
        assert own_pin(self.desired, "n03") in (OTHER, None) or "n03" in self.touched

    def kept(self) -> bool:
        return self.rollout.state is RolloutState.ABORTED and "put back" not in self.rollout.reason

    @invariant()
    def a_failed_stage_has_its_pins_back(self) -> None:
        policy = self.rollout.policy
        if self.rollout.state is RolloutState.FAILED and policy.on_failure is StageFailure.ROLLBACK:
            for one in self.rollout.members.values():
                expected = one.stage < self.rollout.stage and one.state is not MemberState.LEFT
                assert one.pinned is expected, one

    @invariant()
    def the_end_is_what_the_policy_says(self) -> None:
        rollout = self.rollout
        if rollout.state is not RolloutState.DONE:
            return
        assert self.scope_generation() == NEW
        for stage in range(len(rollout.stages)):
            counted = [
                one
                for one in rollout.members.values()
                if one.stage == stage and one.state is not MemberState.LEFT
            ]
            failed = sum(one.state is MemberState.FAILED for one in counted)
            assert failed <= allowed_failures(len(counted), rollout.policy.success)
        assert all(one.state in FINAL for one in rollout.members.values())
        assert not rollout.open

    @invariant()
    def totals_add_up(self) -> None:
        counts = [0] * len(self.rollout.stages)
        for one in self.rollout.members.values():
            counts[one.stage] += 1
        assert sum(counts) == len(NAMES) - 1  # n03 has a pin of its own
        ends = [sum(counts[: place + 1]) for place in range(len(counts))]
        assert tuple(ends) == self.rollout.stages


TestRolloutMachine = RolloutMachine.TestCase
TestRolloutMachine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
