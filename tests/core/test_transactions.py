"""Changes to the desired state: what they do, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootserve.core.transactions import (
    Change,
    add_node,
    check_commit,
    pin,
    remove_node,
    remove_role,
    restore,
    set_node,
    set_rack,
    set_role,
    unpin,
    unrestorable,
    warnings_of,
)
from bootserve.errors import BootserveError, Conflict, NotFound, Refused
from bootserve.model.desired import DesiredState, Pin, PinKey, Rack, Role, Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.names import Arch
from tests.support.states import generation, node, snapshot, state

GENERATIONS = (
    generation("web@1"),
    generation("web@2"),
    generation("web@3", arch=Arch.ARM64),
    generation("web@4", removed=True),
    generation("ceph@1"),
    generation("web@5", revoked="it eats disks"),
)
KNOWN = {one.ref: one for one in GENERATIONS}
BASE = state(
    node("n1", "52:54:00:00:00:01", rack="r1", role="compute"),
    node("n2", "52:54:00:00:00:02", rack="r1", role="osd"),
    pins="rack/r1 web@1;rack/r1 ceph@1;node/n1 web@2",
    roles="compute=web osd=ceph spare=web",
)


def a_pin(scope: str, name: str) -> Pin:
    return Pin(Scope.parse(scope), GenerationRef.parse(name))


def commit(change: Change, base: DesiredState = BASE) -> DesiredState:
    after = change(base)
    check_commit(snapshot(base, *GENERATIONS), snapshot(after, *GENERATIONS, revision=2))
    return after


def test_a_rack_pin_leaves_the_racks_other_images_alone() -> None:
    after = commit(pin(a_pin("rack/r1", "web@2")))
    assert str(after.pins[a_pin("rack/r1", "web@1").key].generation) == "web@2"
    assert str(after.pins[a_pin("rack/r1", "ceph@1").key].generation) == "ceph@1"
    assert BASE.pins[a_pin("rack/r1", "web@1").key].generation.number == 1


REFUSED: list[tuple[Change, type[BootserveError], str]] = [
    (pin(a_pin("node/n2", "web@1")), Refused, "node n2 runs image ceph, not web"),
    (pin(a_pin("node/nope", "web@1")), NotFound, "there is no node nope"),
    (pin(a_pin("role/nope", "web@1")), NotFound, "there is no role nope"),
    (pin(a_pin("site", "web@7")), NotFound, "there is no generation web@7"),
    (pin(a_pin("site", "web@4")), NotFound, "the artifacts of web@4 were removed"),
    (pin(a_pin("site", "web@5")), Refused, "web@5 was revoked by ada: it eats disks"),
    (pin(a_pin("node/n1", "web@3")), Refused, "built for arm64, and the node is amd64"),
    (pin(a_pin("site", "web@1"), change_role="spare"), Refused, "goes with a node pin only"),
    (pin(a_pin("node/n2", "web@1"), change_role="nope"), NotFound, "there is no role nope"),
    (add_node(node("n1", "52:54:00:00:00:09")), Conflict, "already a node n1"),
    (add_node(node("n3", "52:54:00:00:00:02")), Conflict, "already belongs to node n2"),
    (
        set_node("n1", lambda one: replace(one, macs=("52:54:00:00:00:02",))),
        Conflict,
        "already belongs to node n2",
    ),
    (set_node("n1", lambda one: replace(one, macs=())), Refused, "at least one MAC"),
    (set_node("n9", lambda one: one), NotFound, "there is no node n9"),
    (set_node("n1", lambda one: replace(one, arch=Arch.ARM64)), Refused, "unable to boot"),
    (set_node("n1", lambda one: replace(one, role="osd")), Refused, "another image than the node"),
    (set_role(Role("compute", "ceph")), Refused, "another image than the node"),
    (remove_node("n9"), NotFound, "there is no node n9"),
    (remove_role("osd"), Conflict, "role osd is the role of n2"),
    (remove_role("nope"), NotFound, "there is no role nope"),
    (unpin(Scope.parse("rack/r1")), Conflict, "rack/r1 has pins of ceph, web"),
    (unpin(Scope.parse("site")), NotFound, "no pin of any image on site"),
]


@pytest.mark.parametrize(("change", "error", "text"), REFUSED, ids=[row[2] for row in REFUSED])
def test_refused(change: Change, error: type[BootserveError], text: str) -> None:
    with pytest.raises(error, match=text):
        commit(change)


def test_change_role_moves_the_node_in_the_same_revision() -> None:
    after = commit(pin(a_pin("node/n2", "web@1"), change_role="compute"))
    assert after.nodes["n2"].role == "compute"
    assert PinKey(Scope.parse("node/n2"), "web") in after.pins


def test_removing_a_node_removes_its_pins_and_no_others() -> None:
    after = commit(remove_node("n1"))
    assert set(after.nodes) == {"n2"}
    assert [str(key.scope) for key in after.pins] == ["rack/r1", "rack/r1"]


def test_unpin_by_image() -> None:
    after = commit(unpin(Scope.parse("rack/r1"), "ceph"))
    assert sorted(str(one.generation) for one in after.pins.values()) == ["web@1", "web@2"]


def test_a_rack_gets_settings() -> None:
    after = commit(set_rack(Rack("r1", "console=ttyS1")))
    assert after.racks["r1"].kernel_args == "console=ttyS1"


def test_a_node_that_was_stuck_before_does_not_refuse_other_changes() -> None:
    stuck = state(node("n1", role="compute"), pins="site web@4")
    after = commit(set_rack(Rack("r1", "quiet")), stuck)
    assert "r1" in after.racks


@pytest.mark.parametrize(
    ("new", "warned"),
    [
        (a_pin("rack/r9", "web@1"), ["pin rack/r9 web@1 applies to no node"]),
        (a_pin("role/spare", "web@1"), ["pin role/spare web@1 applies to no node"]),
        (a_pin("site", "web@1"), []),
    ],
)
def test_a_pin_that_applies_to_no_node_warns(new: Pin, warned: list[str]) -> None:
    assert warnings_of(BASE, commit(pin(new))) == warned


def test_rolling_back_brings_the_pins_and_leaves_the_nodes() -> None:
    changed = commit(
        add_node(node("n3", "52:54:00:00:00:03")), commit(unpin(Scope.parse("node/n1")))
    )
    back = commit(restore(BASE, KNOWN, everything=False), changed)
    assert back.pins == BASE.pins
    assert set(back.nodes) == {"n1", "n2", "n3"}
    assert commit(restore(BASE, KNOWN, everything=True), changed) == BASE


def test_what_cannot_be_restored_is_listed_and_left_out() -> None:
    lost = [a_pin("site", "web@4"), a_pin("role/compute", "web@5")]
    old = replace(BASE, pins={**BASE.pins, **{one.key: one for one in lost}})
    now = commit(remove_node("n1"))
    assert unrestorable(now, old, KNOWN, everything=False) == [
        "pin node/n1 web@2: node/n1 no longer exists",
        "pin role/compute web@5: the generation was revoked",
        "pin site web@4: the generation was removed",
    ]
    assert unrestorable(now, old, KNOWN, everything=True) == [
        "pin role/compute web@5: the generation was revoked",
        "pin site web@4: the generation was removed",
    ]
    back = commit(restore(old, KNOWN, everything=False), now)
    assert {str(one.scope) for one in back.pins.values()} == {"rack/r1"}
