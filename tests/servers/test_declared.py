"""The desired state as a whole over the API: who may plan and apply what, and on which revision."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.api import Admin, Problem

MACS = [f"52:54:00:00:01:{number:02x}" for number in range(8)]


@pytest.fixture(scope="module")
def tokens(admin: Admin) -> dict[str, str]:
    """An operator of rack r1 and a viewer of the site, where r1 and r2 have a node each."""
    for name, rack, mac in (("n1", "r1", MACS[0]), ("n2", "r2", MACS[1])):
        admin.call("POST", "/nodes", name=name, macs=[mac], rack=rack)
    wanted = {"operator": "rack/r1", "viewer": "site"}
    return {
        role: admin.call("POST", "/tokens", name=role, role=role, scopes=[scope])["secret"]
        for role, scope in wanted.items()
    }


def ask(admin: Admin, token: str, path: str, **changes: Any) -> tuple[int, Any]:
    base = admin.call("GET", "/status")["revision"]["number"]
    body = json.dumps({"base": base, "changes": changes}).encode()
    headers = {"Authorization": f"Bearer {token}"}
    status, answer = admin.raw("POST", f"/api/v1{path}", body, **headers)
    return status, json.loads(answer)


def a_node(mac: str, rack: str, **fields: Any) -> dict[str, Any]:
    return {"macs": [mac], "rack": rack, **fields}


ALLOWED: list[dict[str, Any]] = [
    {"nodes": {"n1": a_node(MACS[0], "r1", kernel_args="debug")}},
    {"nodes": {"n3": a_node(MACS[2], "r1")}},
    {"nodes": {"n3": None}},
    {"racks": {"r1": {"kernel_args": "quiet"}}},
]
REFUSED: list[dict[str, Any]] = [
    {"nodes": {"n2": a_node(MACS[1], "r2", kernel_args="debug")}},
    {"nodes": {"n2": None}},
    {"nodes": {"n1": a_node(MACS[0], "r2")}},
    {"nodes": {"n2": a_node(MACS[1], "r1")}},
    {"nodes": {"n4": a_node(MACS[3], "")}},
    {"nodes": {"n1": a_node(MACS[0], "r1"), "n4": a_node(MACS[3], "r2")}},
    {"racks": {"r2": {"kernel_args": ""}}},
    {"roles": {"compute": {"image": "web"}}},
]


@pytest.mark.parametrize("changes", ALLOWED, ids=str)
def test_a_racks_operator_applies_what_changes_that_rack_alone(
    admin: Admin, tokens: dict[str, str], changes: dict[str, Any]
) -> None:
    before = admin.call("GET", "/status")["revision"]["number"]
    status, answer = ask(admin, tokens["operator"], "/apply", **changes)
    assert (status, answer.get("revision", {}).get("number")) == (200, before + 1), answer


@pytest.mark.parametrize("changes", REFUSED, ids=str)
def test_and_nothing_else(admin: Admin, tokens: dict[str, str], changes: dict[str, Any]) -> None:
    before = admin.call("GET", "/status")["revision"]["number"]
    status, answer = ask(admin, tokens["operator"], "/apply", **changes)
    assert (status, answer["type"]) == (403, "urn:bootserve:problem:refused")
    assert admin.call("GET", "/status")["revision"]["number"] == before


def test_a_viewer_plans_and_does_not_apply(admin: Admin, tokens: dict[str, str]) -> None:
    status, answer = ask(admin, tokens["viewer"], "/plan", nodes={"n2": None})
    assert status == 200
    assert answer["sentences"] == [
        "Node n2 of rack r2 is removed; until now it boots nothing: it holds."
    ]
    assert ask(admin, tokens["viewer"], "/apply", nodes={"n2": None})[0] == 403


def test_the_state_is_the_changes_that_make_it(admin: Admin, tokens: dict[str, str]) -> None:
    state = admin.call("GET", "/state")
    assert state["nodes"]["n2"] == a_node(MACS[1], "r2")
    assert state["revision"] == admin.call("GET", "/status")["revision"]["number"]
    number = state.pop("revision")
    with pytest.raises(Problem, match=f"the current revision is {number}, not 0") as told:
        admin.call("POST", "/apply", base=0, changes=state)
    assert told.value.status == 412
    assert admin.call("POST", "/plan", base=number, changes=state)["effects"] == []


BAD: list[tuple[dict[str, Any], str]] = [
    ({"nodes": []}, "body.changes.nodes"),
    ({"nodes": {"a": 1}}, "node a is no mapping"),
    ({"nodes": {"A": {"macs": MACS}}}, "node name"),
    ({"nodes": {"a": {}}}, "has no MAC address"),
    ({"nodes": {"a": {"macs": [1]}}}, "is no text"),
    ({"nodes": {"a": {"macs": MACS, "arch": "vax"}}}, "none of amd64"),
    ({"roles": {"r": {}}}, "names no image"),
    (
        {"pins": [{"scope": "site", "image": "web", "generation": "db@1"}]},
        "of image web names db@1",
    ),
    ({"nbp_pins": [{"scope": "role/r", "arch": "x64", "nbp": "a.efi"}]}, "an NBP is pinned at"),
    ({"nbp_pins": [{"scope": "site", "arch": [], "nbp": "a.efi"}]}, "body.changes.nbp_pins"),
]


@pytest.mark.parametrize("path", ["/plan", "/apply"])
@pytest.mark.parametrize(("changes", "words"), BAD, ids=[row[1] for row in BAD])
def test_changes_that_cannot_be(
    admin: Admin, path: str, changes: dict[str, Any], words: str
) -> None:
    before = admin.call("GET", "/status")["revision"]["number"]
    with pytest.raises(Problem) as told:
        admin.call("POST", path, base=before, changes=changes)
    assert told.value.status == 400
    assert words in told.value.document["detail"]
    assert admin.call("GET", "/status")["revision"]["number"] == before


def test_two_bases_are_one_too_many(admin: Admin) -> None:
    """What was planned against an older revision is not carried over to a newer one."""
    number = admin.call("GET", "/status")["revision"]["number"]
    body = json.dumps({"base": number - 1, "changes": {"racks": {"r9": {}}}}).encode()
    headers = {"If-Match": f'"{number}"'}
    status, answer = admin.raw("POST", "/api/v1/apply", body, **headers)
    assert (status, f"body.base is {number - 1}" in answer.decode()) == (400, True)
    assert admin.call("GET", "/status")["revision"]["number"] == number


def test_changes_since_a_revision_that_is_not_there(admin: Admin) -> None:
    with pytest.raises(Problem, match="there is no revision 9999"):
        admin.call("GET", "/changes?since=9999")
