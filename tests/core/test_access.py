"""Who may do what: bindings against places, and changes against bindings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bootserve.core.access import (
    AIMED_LABELS,
    check_change,
    covers,
    has_role,
    place_of_node,
    place_of_scope,
    require,
    scopes_of,
)
from bootserve.core.transactions import Change, add_node, pin, remove_node, set_node, set_rack
from bootserve.errors import BootserveError, InvalidInput, Refused
from bootserve.model.access import AccessRole, Binding, Subject, parse_access_scope
from bootserve.model.desired import DesiredState, Node, Pin, Rack, Role, Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.names import parse_mac
from bootserve.servers.reboots.bmcs import BMC_LABEL, SYSTEM_LABEL

VIEWER, OPERATOR, ADMIN = AccessRole


def subject(*bindings: str) -> Subject:
    pairs = [text.split("@") for text in bindings]
    found = tuple(Binding(AccessRole(r), parse_access_scope(s)) for r, s in pairs)
    return Subject("token:t", found)


def node(name: str, rack: str, role: str, last: int) -> Node:
    return Node(name, (parse_mac(f"52:54:00:00:00:{last:02x}"),), rack=rack, role=role)


STATE = DesiredState(
    nodes={
        one.name: one
        for one in (node("a", "r1", "web", 1), node("b", "r2", "web", 2), node("c", "r2", "db", 3))
    },
    roles={name: Role(name, name) for name in ("web", "db")},
)


@pytest.mark.parametrize(
    ("text", "scope"),
    [("site", "site"), ("rack:r1", "rack/r1"), ("rack/r1", "rack/r1"), ("role:web", "role/web")],
)
def test_scopes_are_written_both_ways(text: str, scope: str) -> None:
    assert str(parse_access_scope(text)) == scope


@pytest.mark.parametrize("text", ["", "node/a", "node:a", "rack:", "rack:A B", "shelf/1", "site/x"])
def test_what_is_no_scope_of_access_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_access_scope(text)


def test_each_role_includes_those_below() -> None:
    table = {(mine, needed): mine.includes(needed) for mine in AccessRole for needed in AccessRole}
    assert [pair for pair, yes in table.items() if not yes] == [
        (VIEWER, OPERATOR),
        (VIEWER, ADMIN),
        (OPERATOR, ADMIN),
    ]


@pytest.mark.parametrize(
    ("bindings", "name", "covered"),
    [
        (["operator@site"], "a", True),
        (["operator@rack/r1"], "a", True),
        (["operator@rack/r1"], "b", False),
        (["operator@role/web"], "b", True),
        (["operator@role/web"], "c", False),
        (["viewer@site", "operator@rack/r2"], "a", False),
        (["viewer@site", "operator@rack/r2"], "c", True),
        (["operator@rack/r1"], "nobody", False),
        (["operator@site"], "nobody", True),
        ([], "a", False),
    ],
)
def test_a_binding_reaches_the_nodes_of_its_scope(
    bindings: list[str], name: str, covered: bool
) -> None:
    place = place_of_node(STATE.nodes.get(name))
    assert covers(subject(*bindings), OPERATOR, place) == covered
    assert place_of_scope(STATE, Scope.parse(f"node/{name}")) == place


def test_a_rack_is_not_its_roles_nor_the_site() -> None:
    me = subject("admin@rack/r1")
    assert covers(me, ADMIN, place_of_scope(STATE, Scope.parse("rack/r1")))
    for other in ("site", "rack/r2", "role/web"):
        assert not covers(me, VIEWER, place_of_scope(STATE, Scope.parse(other)))


def test_where_a_subject_may_is_its_scopes_or_everywhere() -> None:
    me = subject("viewer@rack/r1", "operator@role/web", "admin@rack/r2")
    assert scopes_of(me, OPERATOR) == frozenset({Scope.parse("role/web"), Scope.parse("rack/r2")})
    assert scopes_of(subject("viewer@rack/r1", "operator@site"), VIEWER) is None
    of_r1 = scopes_of(subject("viewer@site", "operator@rack/r1"), OPERATOR)
    assert of_r1 == frozenset({Scope.parse("rack/r1")})
    assert scopes_of(subject(), VIEWER) == frozenset()


def test_a_refusal_says_what_is_there_and_what_is_needed() -> None:
    with pytest.raises(Refused, match=r"needs the role operator .* has viewer@rack/r1"):
        require(subject("viewer@rack/r1"), OPERATOR, place_of_node(STATE.nodes["a"]))
    assert not has_role(subject("viewer@site"), OPERATOR)


def _to_rack(name: str, rack: str) -> Change:
    return set_node(name, lambda one: replace(one, rack=rack))


def _to_role(name: str, role: str) -> Change:
    return set_node(name, lambda one: replace(one, role=role))


def _labels(name: str, **labels: str) -> Change:
    given = tuple((key.replace("_", "-"), value) for key, value in sorted(labels.items()))
    return set_node(name, lambda one: replace(one, labels=given))


def _pin(scope: str) -> Change:
    return pin(Pin(Scope.parse(scope), GenerationRef.parse("web@1")))


R1, R2, WEB = "operator@rack/r1", "operator@rack/r2", "operator@role/web"

CHANGES: list[tuple[str, Change, list[str], bool]] = [
    ("into my rack alone", _to_rack("b", "r1"), [R1], False),
    ("out of my rack alone", _to_rack("b", "r1"), [R2], False),
    ("between my racks", _to_rack("b", "r1"), [R1, R2], True),
    ("by its role, which stays", _to_rack("b", "r1"), [WEB], True),
    ("another role in my rack", _to_role("a", "db"), [R1], True),
    ("out of my role", _to_role("a", "db"), [WEB], False),
    ("to no rack", _to_rack("a", ""), [R1], False),
    ("a new node in my rack", add_node(node("n", "r1", "web", 9)), [R1], True),
    ("a new node in another", add_node(node("n", "r2", "db", 9)), [R1, WEB], False),
    ("a new node in none", add_node(node("n", "", "", 9)), [R1], False),
    ("removed from mine", remove_node("a"), [R1], True),
    ("removed from another's", remove_node("b"), [R1], False),
    ("viewers change nothing", remove_node("a"), ["viewer@rack/r1", "viewer@site"], False),
    ("pin my rack", _pin("rack/r1"), [R1], True),
    ("pin another", _pin("rack/r2"), [R1], False),
    ("pin my node", _pin("node/a"), [R1], True),
    ("pin another's node", _pin("node/b"), [R1], False),
    ("pin the role from a rack", _pin("role/web"), [R1], False),
    ("pin my role", _pin("role/web"), [WEB], True),
    ("pin the site from a rack", _pin("site"), [R1, WEB], False),
    ("my rack's arguments", set_rack(Rack("r1", "quiet")), [R1], True),
    ("another's arguments", set_rack(Rack("r2", "quiet")), [R1], False),
    ("nothing", lambda state: state, [], True),
]


@pytest.mark.parametrize(
    ("change", "bindings", "allowed"), [one[1:] for one in CHANGES], ids=[one[0] for one in CHANGES]
)
def test_changes_stay_within_the_scope(change: Change, bindings: list[str], allowed: bool) -> None:
    after = change(STATE)
    check_change(subject("operator@site"), STATE, after)
    refused: BootserveError | None = None
    try:
        check_change(subject(*bindings), STATE, after)
    except Refused as error:
        refused = error
    assert (refused is None) == allowed


AIMED = add_node(replace(node("bmc", "r1", "web", 8), labels=(("a", "b"), ("bmc", "10.0.9.11"))))
AIMING: list[tuple[str, Change, bool]] = [
    ("a bmc", _labels("a", bmc="http://10.66.6.6:8000"), False),
    ("a system", _labels("a", bmc_system="2"), False),
    ("a cluster's node", _labels("a", k8s_node="r2n1"), False),
    ("a Ceph host", _labels("a", ceph_host="r2n1"), False),
    ("a compute host", _labels("a", compute_host="r2n1"), False),
    ("another bmc", _labels("bmc", a="b", bmc="10.0.9.12"), False),
    ("no bmc, and no way back", _labels("bmc", a="b"), False),
    ("another label beside it", _labels("bmc", a="c", bmc="10.0.9.11"), True),
    ("any other label", _labels("a", address="10.0.0.1"), True),
    ("removed with its bmc", remove_node("bmc"), True),
]


@pytest.mark.parametrize(
    ("change", "allowed"), [one[1:] for one in AIMING], ids=[one[0] for one in AIMING]
)
def test_where_credentials_go_is_the_sites_to_say(change: Change, allowed: bool) -> None:
    before = AIMED(STATE)
    after = change(before)
    check_change(subject("operator@site"), before, after)
    if allowed:
        check_change(subject(R1), before, after)
    else:
        with pytest.raises(Refused, match="where the server's own credentials are used"):
            check_change(subject(R1), before, after)


def test_a_new_node_with_a_bmc_is_the_sites_to_add() -> None:
    with pytest.raises(Refused, match="may not change the label bmc of node bmc"):
        check_change(subject(R1), STATE, AIMED(STATE))


def test_every_label_that_aims_is_known() -> None:
    hooks = Path(__file__).parents[2] / "deploy" / "hooks"
    read = {
        name
        for one in hooks.glob("*.py")
        for name in re.findall(r'labels\.get\("([^"]+)"\)', one.read_text())
    }
    assert read | {BMC_LABEL, SYSTEM_LABEL} == AIMED_LABELS


def test_removing_a_node_with_its_pin_is_of_its_rack() -> None:
    pinned = _pin("node/a")(STATE)
    check_change(subject(R1), pinned, remove_node("a")(pinned))
    with pytest.raises(Refused):
        check_change(subject(R2), pinned, remove_node("a")(pinned))
