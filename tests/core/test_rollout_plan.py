"""Which nodes a rollout touches, and how its stages are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.rollout_plan import cut_stages, parse_share, parse_unavailable, plan_rollout
from bootserve.errors import BootserveError, Conflict, InvalidInput, NotFound, Refused
from bootserve.model.desired import BootFrom, Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.names import Arch
from tests.support.states import generation, node, snapshot, state

ALL = "1, 10%, 50%, 100%"
NEW = GenerationRef("web", 2)


@pytest.mark.parametrize(
    ("text", "nodes", "counts"),
    [
        (ALL, 10_000, (1, 1000, 5000, 10_000)),
        (ALL, 40, (1, 4, 20, 40)),
        (ALL, 3, (1, 2, 3)),
        (ALL, 1, (1,)),
        ("100%", 7, (7,)),
        ("5, 500", 9, (5, 9)),
        ("0.5%,100 %", 1000, (5, 1000)),
    ],
)
def test_stages(text: str, nodes: int, counts: tuple[int, ...]) -> None:
    assert cut_stages(text, nodes) == counts


@pytest.mark.parametrize(
    "text", ["", "10%", "50%, 10%, 100%", "0, 100%", "x", "110%", "-1", "1,,2", "100%, 0%"]
)
def test_stages_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        cut_stages(text, 100)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5), st.integers(1, 500))
def test_stages_grow_to_all_nodes(shares: list[int], nodes: int) -> None:
    counts = cut_stages(", ".join(f"{share}%" for share in sorted(shares)) + ", 100%", nodes)
    assert counts[-1] == nodes
    assert list(counts) == sorted(set(counts))


def test_shares_and_numbers() -> None:
    assert (parse_share("95%"), parse_share(" 99.5 % ")) == (0.95, 0.995)
    assert [parse_unavailable(text, 40) for text in ("2", "5%", "1%", "99")] == [2, 2, 1, 40]
    for text in ("95", "0%", "101%"):
        with pytest.raises(InvalidInput):
            parse_share(text)


NODES = [
    node("n1", "52:54:00:00:00:01", rack="r2", role="compute"),
    node("n2", "52:54:00:00:00:02", rack="r1", role="compute"),
    node("n3", "52:54:00:00:00:03", rack="r1", role="compute"),
    node("n4", "52:54:00:00:00:04", rack="r1", role="compute", boot=BootFrom.LOCAL),
    node("n5", "52:54:00:00:00:05", rack="r1", role="db"),
    node("n6", "52:54:00:00:00:06", rack="r3", role="compute"),
]


def test_it_takes_the_nodes_that_a_pin_would_decide_for_rack_by_rack() -> None:
    pins = "site web@1; site db@1; node/n3 web@1; rack/r3 web@1"
    desired = state(*NODES, pins=pins, roles="compute=web db=db")
    known = [generation(name) for name in ("web@1", "web@2", "db@1")]
    plan = plan_rollout(snapshot(desired, *known), Scope.parse("site"), NEW, ALL, "1")
    assert list(plan.rollout.members) == ["n2", "n1"]
    assert plan.left_out == {
        "pin of its own": ["n3"],
        "boots from its local disk": ["n4"],
        "image db": ["n5"],
        "pin rack/r3": ["n6"],
    }
    one = plan_rollout(snapshot(desired, *known), Scope.parse("node/n3"), NEW, ALL, "1").rollout
    assert one.members["n3"].before == GenerationRef("web", 1)


@pytest.mark.parametrize(
    ("scope", "name", "error", "words"),
    [
        ("site", "web@9", NotFound, "no generation web@9"),
        ("site", "web@3", NotFound, "were removed"),
        ("rack/none", "web@2", Conflict, "no node in rack/none"),
        ("rack/r3", "db@1", Conflict, "1 with image web"),
        ("role/none", "web@2", NotFound, "no role none"),
        ("rack/r2", "web@4", Refused, "built for arm64"),
    ],
)
def test_what_is_refused(scope: str, name: str, error: type[BootserveError], words: str) -> None:
    desired = state(*NODES, pins="site web@1", roles="compute=web db=db")
    known = [generation(name) for name in ("web@1", "web@2", "db@1")]
    known += [generation("web@3", removed=True), generation("web@4", arch=Arch.ARM64)]
    with pytest.raises(error, match=words):
        plan_rollout(
            snapshot(desired, *known), Scope.parse(scope), GenerationRef.parse(name), ALL, "1"
        )
