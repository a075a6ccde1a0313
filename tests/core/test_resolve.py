"""The rule of pins: node beats rack beats role beats site, and never anything less."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.resolve import Action, kernel_args_of, resolve
from bootserve.model.desired import BootFrom, Rack, Role
from bootserve.model.names import Arch
from tests.support.states import generation, node, state

GENERATIONS = {g.ref: g for g in (generation(f"web@{n}") for n in range(1, 6))} | {
    g.ref: g
    for g in (
        generation("ceph@1"),
        generation("web@9", removed=True),
        generation("web@10", revoked="it eats disks"),
        replace(generation("web@11"), damaged="whose stored manifest has changed"),
    )
}
HERE = {"rack": "r1", "role": "compute"}


@pytest.mark.parametrize(
    ("pins", "expected"),
    [
        ("site web@1", "site web@1"),
        ("site web@1;role/compute web@2", "role/compute web@2"),
        ("site web@1;role/compute web@2;rack/r1 web@3", "rack/r1 web@3"),
        ("site web@1;role/compute web@2;rack/r1 web@3;node/n1 web@4", "node/n1 web@4"),
        ("rack/r1 web@3;rack/r2 web@4", "rack/r1 web@3"),
        ("rack/r1 ceph@1;role/compute web@2", "role/compute web@2"),
        ("rack/r1 ceph@1;rack/r1 web@2", "rack/r1 web@2"),
    ],
)
def test_the_most_specific_pin_of_the_nodes_image_wins(pins: str, expected: str) -> None:
    desired = state(node(**HERE), pins=pins)
    found = resolve(desired, desired.nodes["n1"], GENERATIONS)
    assert found.action is Action.BOOT
    assert found.pin is not None
    assert found.generation is not None
    assert f"{found.pin.scope} {found.generation.ref}" == expected


@pytest.mark.parametrize(
    ("pins", "action", "reason"),
    [
        ("", Action.HOLD, "no pin for image web applies to it"),
        ("rack/r2 web@1", Action.HOLD, "no pin for image web applies to it"),
        (
            "rack/r1 web@8;site web@1",
            Action.UNRESOLVABLE,
            "pin rack/r1 names web@8, which does not exist",
        ),
        (
            "rack/r1 web@9;site web@1",
            Action.UNRESOLVABLE,
            "pin rack/r1 names web@9, whose artifacts were removed",
        ),
        (
            "rack/r1 web@10;site web@1",
            Action.UNRESOLVABLE,
            "pin rack/r1 names web@10, which was revoked (it eats disks)",
        ),
        (
            "rack/r1 web@11;site web@1",
            Action.UNRESOLVABLE,
            "pin rack/r1 names web@11, whose stored manifest has changed",
        ),
    ],
)
def test_a_pin_that_cannot_be_followed_gives_way_to_nothing(
    pins: str, action: Action, reason: str
) -> None:
    desired = state(node(**HERE), pins=pins)
    found = resolve(desired, desired.nodes["n1"], GENERATIONS)
    assert (found.action, found.reason, found.generation) == (action, reason, None)


def test_another_architecture_is_not_booted() -> None:
    desired = state(node(arch=Arch.ARM64, **HERE), pins="site web@1")
    found = resolve(desired, desired.nodes["n1"], GENERATIONS)
    assert found.action is Action.UNRESOLVABLE
    assert "built for amd64, and the node is arm64" in found.reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "it has neither a role nor an image of its own"),
        ({"role": "none-such"}, "its role none-such names no image"),
    ],
)
def test_a_node_without_an_image_holds(fields: dict[str, str], reason: str) -> None:
    desired = state(node(**fields), pins="site web@1")
    found = resolve(desired, desired.nodes["n1"], GENERATIONS)
    assert (found.action, found.reason) == (Action.HOLD, reason)


def test_an_image_override_beats_the_roles_image() -> None:
    desired = state(node(image="ceph", **HERE), pins="site web@1;site ceph@1")
    found = resolve(desired, desired.nodes["n1"], GENERATIONS)
    assert found.generation is GENERATIONS[generation("ceph@1").ref]


def test_a_node_set_to_its_disk_is_left_there_whatever_is_pinned() -> None:
    desired = state(node(boot=BootFrom.LOCAL, **HERE), pins="node/n1 web@1")
    assert resolve(desired, desired.nodes["n1"], GENERATIONS).action is Action.LOCAL


def test_kernel_arguments_come_from_role_rack_and_node_in_that_order() -> None:
    desired = state(node(kernel_args="c", **HERE), racks=(Rack("r1", "b"),))
    desired = replace(desired, roles={"compute": Role("compute", "web", "a")})
    assert kernel_args_of(desired, desired.nodes["n1"]) == "a b c"


SCOPES = ("node/n1", "rack/r1", "role/compute", "site", "node/n2", "rack/r2", "role/other")


@given(st.lists(st.tuples(st.sampled_from(SCOPES), st.sampled_from(["web", "ceph"])), unique=True))
def test_whatever_is_pinned_the_first_of_the_nodes_scopes_decides(
    pairs: list[tuple[str, str]],
) -> None:
    pins = ";".join(f"{scope} {image}@1" for scope, image in pairs)
    desired = state(node(**HERE), pins=pins)
    found = resolve(desired, desired.nodes["n1"], GENERATIONS)
    mine = [scope for scope in SCOPES[:4] if (scope, "web") in pairs]
    if mine:
        assert found.pin is not None
        assert str(found.pin.scope) == mine[0]
        assert found.action is Action.BOOT
    else:
        assert found.action is Action.HOLD
