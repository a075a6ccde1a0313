"""A snapshot made from the one before is the one made afresh, and groups hide no node."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bootserve.core.fleet import make_fleet
from bootserve.core.nbps import Nbps, nbps_of
from bootserve.core.resolve import Action, image_of, kernel_args_of, resolve, scopes_of
from bootserve.core.snapshot import NodePlan, Snapshot, build_snapshot, changed_nodes
from bootserve.core.transactions import warnings_of
from bootserve.model.desired import (
    BootFrom,
    DesiredState,
    NbpPin,
    Node,
    Pin,
    PinKey,
    Rack,
    Revision,
    Role,
    Scope,
)
from bootserve.model.generation import GenerationRef
from bootserve.model.names import Arch
from bootserve.model.nbp import NbpArch
from tests.support.states import SITE, generation, node

KNOWN = {
    one.ref: one
    for one in (
        generation("web@1"),
        generation("web@2", removed=True),
        generation("web@3", arch=Arch.ARM64),
        generation("ceph@1"),
    )
}
NBPS: Nbps = {}
NAMES = [f"n{n}" for n in range(6)]
SCOPES = ["site", "rack/r1", "rack/r2", "role/a", "role/b", *(f"node/{name}" for name in NAMES)]
words = st.sampled_from


@st.composite
def nodes(draw: st.DrawFn) -> dict[str, Node]:
    found = {}
    macs = draw(st.permutations([f"52:54:00:00:00:{n:02x}" for n in range(12)]))
    for place, name in enumerate(NAMES):
        if draw(st.integers(0, 4)):
            found[name] = Node(
                name,
                tuple(macs[2 * place : 2 * place + draw(st.integers(1, 2))]),
                rack=draw(words(["", "r1", "r2"])),
                role=draw(words(["", "a", "b"])),
                arch=draw(words([Arch.AMD64, Arch.ARM64])),
                image=draw(words(["", "web", "ceph"])),
                kernel_args=draw(words(["", "own"])),
                boot=draw(words([BootFrom.NETWORK, BootFrom.NETWORK, BootFrom.LOCAL])),
            )
    return found


refs = words(["web@1", "web@2", "web@3", "web@9", "ceph@1"]).map(GenerationRef.parse)
pins = st.lists(st.builds(Pin, words(SCOPES).map(Scope.parse), refs), max_size=8)
nbp_scopes = words([scope for scope in SCOPES if "role" not in scope]).map(Scope.parse)
nbp_pins = st.lists(
    st.builds(NbpPin, nbp_scopes, words(list(NbpArch)), words(["x", "y"])), max_size=3
)
racks = st.lists(st.builds(Rack, words(["r1", "r2"]), words(["", "x"])), max_size=2)
roles = st.lists(st.builds(Role, words(["a", "b"]), words(["web", "ceph"]), words(["", "y"])))


@st.composite
def states(draw: st.DrawFn) -> list[DesiredState]:
    """States that follow each other, each with some parts of the one before."""
    found = [DesiredState()]
    for _ in range(draw(st.integers(1, 4))):
        last = found[-1]
        parts = draw(st.sets(words(["nodes", "some", "pins", "nbps", "roles"]), min_size=1))
        own = draw(nodes()) if "nodes" in parts else last.nodes
        if "some" in parts:
            name = draw(words(NAMES))
            taken = {mac for one in own.values() if one.name != name for mac in one.macs}
            free = [f"52:54:00:00:00:{n:02x}" for n in range(13)]
            mac = next(mac for mac in free if mac not in taken)
            own = {**own, name: node(name, mac, role="a")}
        found.append(
            DesiredState(
                nodes=own,
                pins={p.key: p for p in draw(pins)} if "pins" in parts else last.pins,
                nbp_pins={p.key: p for p in draw(nbp_pins)} if "nbps" in parts else last.nbp_pins,
                roles={r.name: r for r in draw(roles)} if "roles" in parts else last.roles,
                racks={r.name: r for r in draw(racks)} if "roles" in parts else last.racks,
            )
        )
    return found


def plan_by_hand(state: DesiredState, one: Node) -> NodePlan:
    return NodePlan(one, resolve(state, one, KNOWN), kernel_args_of(state, one))


def check(found: Snapshot, state: DesiredState) -> None:
    by_hand = {name: plan_by_hand(state, one) for name, one in state.nodes.items()}
    assert dict(found.plans) == by_hand
    macs = {mac: by_hand[one.name] for one in state.nodes.values() for mac in one.macs}
    assert {mac: found.plan(mac) for mac in found.by_mac} == macs
    stuck = {name for name, p in by_hand.items() if p.resolution.action is Action.UNRESOLVABLE}
    assert {plan.node.name for plan in found.unresolvable()} == stuck
    deciding = [plan.resolution.pin.key for plan in by_hand.values() if plan.resolution.pin]
    assert found.decided() == Counter(deciding)


@settings(deadline=None, max_examples=60)
@given(states())
def test_a_snapshot_is_as_if_each_node_were_resolved_by_itself(given: list[DesiredState]) -> None:
    found = None
    for number, state in enumerate(given):
        found = build_snapshot(Revision(number, 1.0, "a", "m"), state, KNOWN, SITE, NBPS, found)
        check(found, state)
        assert found.fleet == make_fleet(state.nodes)
        before = given[number - 1].nodes if number else {}
        macs = {mac for one in before.values() for mac in one.macs}
        lost = before.keys() - state.nodes.keys() or macs - found.by_mac.keys()
        assert found.fleet.lost is bool(lost) or state.nodes is before


@settings(deadline=None, max_examples=60)
@given(states())
def test_changed_nodes_and_warnings_count_what_is_so_for_each_node(
    given: list[DesiredState],
) -> None:
    for old, new in pairwise(given):
        before = build_snapshot(Revision(1, 1.0, "a", "m"), old, KNOWN, SITE, NBPS)
        after = build_snapshot(Revision(2, 1.0, "a", "m"), new, KNOWN, SITE, NBPS, before)
        outcomes = [
            {
                name: (
                    p.resolution.action,
                    p.resolution.generation,
                    [(one.pin.arch, one.pin.nbp) for one in nbps_of(s, p.node, NBPS)],
                )
                for name, p in ((n, plan_by_hand(s, one)) for n, one in s.nodes.items())
            }
            for s in (old, new)
        ]
        names = old.nodes.keys() | new.nodes.keys()
        changed = [n for n in names if outcomes[0].get(n) != outcomes[1].get(n)]
        assert changed_nodes(before, after) == len(changed)
        applied = {
            PinKey(scope, image_of(new, one))
            for one in new.nodes.values()
            for scope in scopes_of(one)
        }
        fresh = [key for key, one in new.pins.items() if old.pins.get(key) != one]
        assert len(warnings_of(old, new)) == len([key for key in fresh if key not in applied])


def test_what_did_not_change_is_shared() -> None:
    first = {f"n{n}": node(f"n{n}", f"52:54:00:00:00:{n:02x}") for n in range(9)}
    fleet = make_fleet(first)
    assert make_fleet(first, fleet) is fleet
    second = make_fleet({**first, "n3": node("n3", "52:54:00:00:01:03", rack="r")}, fleet)
    assert second.nodes["n4"] is fleet.nodes["n4"]
    assert second.by_mac.keys() - fleet.by_mac.keys() == {"52:54:00:00:01:03"}
    assert fleet.by_mac.keys() - second.by_mac.keys() == {"52:54:00:00:00:03"}
    assert sorted(second.groups.values()) == [1, 8]
