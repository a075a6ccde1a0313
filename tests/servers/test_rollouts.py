"""Rollouts through the whole server: simulated nodes, the API and the command line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from tests.cli.runner import Cli
from tests.support.api import Admin
from tests.support.fleet import Fleet, attach

QUICK = ["--rollout-seconds", "0.1"]
NAMES = [f"n{number:02}" for number in range(12)]


@pytest.fixture(scope="module")
def server(lab: Lab) -> BootServer:
    return lab.bootserve(arguments=QUICK).start()


@pytest.fixture(scope="module")
def cli(server: BootServer) -> Cli:
    return Cli(server.state_dir)


@pytest.fixture(scope="module")
def fleet(server: BootServer, admin: Admin, client: Namespace) -> Fleet:
    attach(server.namespace, client)
    made = Fleet(client)
    made.add(NAMES)
    for number in range(1, 10):
        admin.publish("web", str(number))
    admin.call("PUT", "/roles/compute", image="web")
    for node in made.nodes.values():
        rack = f"r{node.number % 2}"
        admin.call("POST", "/nodes", name=node.name, macs=[node.mac], role="compute", rack=rack)
    admin.call("PUT", "/pins", scope="site", generation="web@1")
    asyncio.run(made.each(made.start, made.nodes.values()))
    return made


def until(check: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.05)
    return found


def shown(admin: Admin, number: int) -> Any:
    return admin.call("GET", f"/rollouts/{number}")


def play(admin: Admin, fleet: Fleet, number: int, *, tries: int = 4) -> Any:
    """Let nodes heartbeat, and reboot when asked, until the rollout is over; return it."""

    def over() -> Any:
        found = shown(admin, number)
        if found["state"] not in ("running",):
            return found
        wanted = [fleet.nodes[one["node"]] for one in found["unsettled"]]
        asyncio.run(fleet.each(lambda node: fleet.obey(node, tries=tries), wanted))
        return None

    return until(over)


def pins(admin: Admin) -> dict[str, str]:
    return {one["scope"]: one["generation"] for one in admin.call("GET", "/pins")["pins"]}


def test_a_rollout_goes_through_all_its_stages(admin: Admin, fleet: Fleet) -> None:
    before = admin.call("GET", "/status")["revision"]["number"]
    body = {"stages": "1, 50%, 100%", "max_unavailable": "2", "soak": 0.2, "reboot": "agent"}
    made = admin.call("POST", "/rollouts", scope="site", generation="web@2", **body)
    assert [stage["nodes"] for stage in made["stages"]] == [1, 5, 6]
    end = play(admin, fleet, made["number"])
    assert (end["state"], end["counts"]) == ("done", {"done": 12})
    assert pins(admin) == {"site": "web@2"}
    assert {node.running for node in fleet.nodes.values()} == {"web@2"}
    assert all(node.starts == ["web@1", "web@2"] for node in fleet.nodes.values())
    revisions = admin.call("GET", "/revisions?limit=4")["revisions"]
    assert revisions[0]["number"] == before + 4  # three stages, and the scope's own pin
    assert [one["message"] for one in reversed(revisions)] == [
        "rollout 1: stage 1 of 3: 1 node to web@2",
        "rollout 1: stage 2 of 3: 5 nodes to web@2",
        "rollout 1: stage 3 of 3: 6 nodes to web@2",
        "rollout 1: done: site is pinned to web@2",
    ]
