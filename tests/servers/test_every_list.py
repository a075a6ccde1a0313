"""Every list of the API is paged: each is found in its document, filled, and walked."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from tests.cli.runner import Cli
from tests.support.api import Admin
from tests.support.curl import curl
from tests.support.machine import Machine

NO_LISTS = {
    "/changes": "what differs between two revisions, as one sentence tells it",
    "/generations/{name}": "one generation, and the scopes that it is pinned to",
    "/hooks": "those that the settings declare",
    "/nodes/{name}": "one node",
    "/nodes/{name}/boot-once": "the last 20",
    "/nodes/{name}/drift": "one node; a heartbeat holds so many entries and no more",
    "/nodes/{name}/explain": "one node",
    "/reboots/{id}": "one reboot",
    "/rollouts/{number}": "one rollout; its nodes are a list of their own",
    "/state": "the whole as one document",
    "/status": "what is wrong now",
    "/whoami": "one subject's bindings",
}
"""What has an array in its answer and is no list, and why its length is bounded or one whole."""

IPXE = Path("/usr/lib/ipxe/snponly.efi").read_bytes()


@dataclass(frozen=True)
class Listed:
    """A GET whose answer has arrays: their names, its query by name, and whether it has next."""

    path: str
    arrays: list[str]
    query: dict[str, Any]
    next: bool


def listed(document: Any) -> Iterator[Listed]:
    """Yield every GET of the API whose answer has an array at its top."""
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        content = item.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if schema is None:
            continue
        fields = schemas[schema["$ref"].rpartition("/")[2]]["properties"]
        arrays = [name for name, one in fields.items() if _is_array(one, schemas)]
        asked = [one for one in item["get"].get("parameters", []) if one["in"] == "query"]
        query = {one["name"]: one["schema"] for one in asked}
        if arrays:
            yield Listed(path.removeprefix("/api/v1"), arrays, query, "next" in fields)


def _is_array(schema: Any, schemas: Any) -> bool:
    if "$ref" in schema:
        return _is_array(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    kinds = schema.get("anyOf", []) + schema.get("oneOf", []) + schema.get("allOf", [])
    return schema.get("type") == "array" or any(_is_array(one, schemas) for one in kinds)


@pytest.fixture(scope="module")
def server(lab: Lab) -> BootServer:
    return lab.bootserve(arguments=["--unknown", "register"]).start()


@pytest.fixture(scope="module")
def lists(admin: Admin) -> list[Listed]:
    return list(listed(admin.call("GET", "/openapi.json")))


def test_what_has_an_array_is_paged(lists: list[Listed]) -> None:
    unpaged = {
        one.path for one in lists if not (one.next and {"limit", "cursor"} <= one.query.keys())
    }
    assert unpaged == NO_LISTS.keys()


@pytest.fixture(scope="module")
def filled(lab: Lab, admin: Admin, server: BootServer) -> Admin:
    """A site with at least two of everything."""
    for number in (1, 2):
        admin.publish("web", str(number))
        admin.call("PUT", f"/roles/role{number}", image="web")
        digest = admin.upload(IPXE + bytes(number)).sha256
        admin.call("POST", "/nbps", name=f"n{number}.efi", arch="x64", digest=digest)
        admin.call("PUT", "/nbp-pins", scope=f"rack/r{number}", nbp=f"n{number}.efi")
        admin.call("POST", "/tokens", name=f"t{number}", role="viewer", scopes=["site"])
        admin.call("PUT", f"/racks/r{number}", kernel_args="quiet")
    for number in range(1, 7):
        rack, role = f"r{number % 2 + 1}", f"role{number % 2 + 1}"
        macs = [f"02:00:00:44:00:7{number}"]
        admin.call("POST", "/nodes", name=f"n{number}", macs=macs, rack=rack, role=role)
    for scope in ("site", "rack/r1"):
        admin.call("PUT", "/pins", scope=scope, generation="web@1")
    _boot(lab, admin)
    for rack in ("r1", "r2"):
        number = admin.call(
            "POST", "/rollouts", scope=f"rack/{rack}", generation="web@2", reboot="none"
        )["number"]
        admin.call("POST", f"/rollouts/{number}/abort", keep_pins=True)
    admin.call("PUT", "/pins", scope="node/n3", generation="web@1")  # whatever a rollout chose
    for name in ("n5", "n6"):
        admin.call("POST", f"/nodes/{name}/reboot", by="agent", hooks=False)
    return admin


def _boot(lab: Lab, admin: Admin) -> None:
    """Have nodes up that would boot something else, one that would not, and strangers."""
    for number in (1, 2, 3):
        client = lab.client(f"c{number}", f"10.44.0.7{number}")
        Machine(client, f"02:00:00:44:00:7{number}").come_up()
        client.ip("link", "set", "eth1", "address", f"02:00:00:44:00:9{number}")
        curl(client, f"/boot/02:00:00:44:00:9{number}.ipxe")
        if number < 3:
            admin.call("PUT", "/pins", scope=f"node/n{number}", generation="web@2")


def asked(one: Listed) -> str:
    """Return the path of a list and what must be asked for it, to be gone on with."""
    more = {"/as-of": f"at={time.time()}&", "/drift": "all=true&"}.get(one.path, "")
    return f"{re.sub('{number}', '1', one.path)}?{more}"


def test_a_walk_item_by_item_is_the_whole_list(filled: Admin, lists: list[Listed]) -> None:
    for one in lists:
        if one.path in NO_LISTS:
            continue
        path = asked(one)
        deadline = time.monotonic() + 60
        most = one.query["limit"]["maximum"]
        while True:  # what is recorded meanwhile, by the server itself, makes it another list
            whole, walked = filled.call("GET", f"{path}limit={most}"), walk(filled, path, one)
            if whole == filled.call("GET", f"{path}limit={most}"):
                break
            assert time.monotonic() < deadline, path
        assert whole["next"] == ""
        for name in one.arrays:
            assert len(whole[name]) >= 2, (path, name, whole)
            assert [item for page in walked for item in page[name]] == whole[name], (path, name)
        assert len(walked) >= sum(len(whole[name]) for name in one.arrays), path


def walk(admin: Admin, path: str, one: Listed) -> list[Any]:
    """Return the pages of one item each."""
    pages = [admin.call("GET", f"{path}limit=1")]
    while cursor := pages[-1]["next"]:
        pages.append(admin.call("GET", f"{path}limit=1&cursor={cursor}"))
        assert sum(len(pages[-1][name]) for name in one.arrays) <= 1
    return pages


def test_pages_of_what_would_change_add_up(
    filled: Admin, server: BootServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = filled.call("GET", "/would-change")
    assert [one["node"] for one in whole["nodes"]] == ["n1", "n2"]
    assert (whole["unchanged"], whole["unknown"]) == (1, ["n4", "n5", "n6"])
    monkeypatch.setattr("bootserve.cli.would_change.PAGE", 1)
    shown = Cli(server.state_dir).json("would-change")
    del shown["differences"]
    assert shown == whole
