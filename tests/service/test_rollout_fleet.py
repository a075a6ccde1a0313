"""10,000 simulated nodes and a real server: the rollout ends as its policy says, to the node.

Time is scaled, by settings and by nodes that start at once, but nothing is replaced: every script,
root, report and heartbeat is a request of its own, from an address of its own. The first rollout
waits for nodes to be rebooted; the second asks them to, in the answers to their heartbeats, and
fails. (Each reboot that is asked for is on record step by step: 10,000 would take minutes.)
"""

from __future__ import annotations

import random
import re
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab

from bootserve.model.desired import DesiredState, Node, Role
from bootserve.model.rollout import IN_FLIGHT
from bootserve.store.database import Database, sqlite_url
from bootserve.store.desired import DesiredStore
from tests.support.api import Admin
from tests.support.fleet import Fleet, SimNode, attach

NODES = 10_000
RACK = 40
SEED = 20_261_123
SOAK = 0.5
SCALED = (
    "--rollout-seconds",
    "0.2",
    "--heartbeat-seconds",
    "1",
    "--heartbeats-missed",
    "1000",
    "--heartbeats-per-second",
    "100000",
    "--admin-port",
    "0",
)


def make_nodes(folder: Path, fleet: Fleet) -> None:
    """Write the fleet to a new database, before a server uses it."""
    folder.mkdir(parents=True)
    fleet.add(f"n{number:05}" for number in range(NODES))
    nodes = {
        one.name: Node(one.name, (one.mac,), rack=f"r{one.number // RACK:03}", role="compute")
        for one in fleet.nodes.values()
    }
    database = Database.open(sqlite_url(folder / "bootserve.db"))
    state = DesiredState(nodes=nodes, roles={"compute": Role("compute", "web")})
    store = DesiredStore(database)
    store.commit(0, state, old=DesiredState(), author="test", message="a fleet", at=time.time())
    database.close()


def sends_heartbeats(node: SimNode) -> bool:
    return node.number % 10 == 0


class World:
    """The fleet and those who run it: they start nodes once their pin has moved."""

    def __init__(self, admin: Admin, fleet: Fleet, state_dir: Path) -> None:
        self.admin = admin
        self.fleet = fleet
        self.state_dir = state_dir

    def members(self, number: int, state: str) -> list[Any]:
        """Return the nodes of a rollout that are in ``state``, as the API shows them."""
        path = f"/rollouts/{number}/nodes?state={state}&limit=5000"
        answer = self.admin.call("GET", path)
        found: list[Any] = answer["nodes"]
        while answer["next"]:
            answer = self.admin.call("GET", f"{path}&cursor={answer['next']}")
            found += answer["nodes"]
        return found

    def reached(self, number: int) -> list[SimNode]:
        """Return the nodes that wait to be rebooted: the rollout's pin is on them."""
        members = self.members(number, "waiting")
        return [self.fleet.nodes[one["node"]] for one in members if one["pinned"]]

    async def reboot(self, node: SimNode) -> None:
        """Start a node; of those that come up, one in ten sends a heartbeat at once."""
        if await self.fleet.start(node) and sends_heartbeats(node):
            await self.fleet.beat(node)

    def play(self, number: int) -> Any:
        """Reboot nodes as the rollout reaches them, until it is over; return it."""
        tried: Counter[str] = Counter()
        agents: list[SimNode] = []
        deadline = time.monotonic() + 120
        while True:
            found = self.admin.call("GET", f"/rollouts/{number}")
            if found["state"] != "running":
                return found
            assert time.monotonic() < deadline, found["counts"]
            waiting = [
                node
                for node in self.reached(number)
                if node.running != found["generation"] and tried[node.name] < 6
            ]
            tried.update(node.name for node in waiting)
            self.fleet.each(self.reboot, waiting)
            agents += filter(sends_heartbeats, waiting)
            if not waiting:  # all of the stage are up: who sends heartbeats says so after its soak
                time.sleep(SOAK)
                self.fleet.each(self.fleet.beat, agents)
                agents = []
            self.others_beat()

    def others_beat(self) -> None:
        """Let some of those that send heartbeats do so: that not all do is enough."""
        up = [node for node in self.fleet.nodes.values() if node.running and sends_heartbeats(node)]
        self.fleet.each(self.fleet.beat, self.fleet.random.sample(up, min(20, len(up))))

    def obey(self, number: int) -> Any:
        """Let nodes reboot as they are asked to, until the rollout is over, and return it."""
        deadline = time.monotonic() + 120
        while True:
            found = self.admin.call("GET", f"/rollouts/{number}")
            if found["state"] != "running" and not found["counts"].keys() & IN_FLIGHT:
                return found
            assert time.monotonic() < deadline, found["counts"]
            for state in ("rebooting", "soaking"):
                members = self.members(number, state)
                self.fleet.each(self.fleet.obey, [self.fleet.nodes[one["node"]] for one in members])
            self.others_beat()


@pytest.fixture
def world(lab: Lab, tmp_path: Path) -> World:
    client = lab.client("fleet")
    fleet = Fleet(client)
    make_nodes(tmp_path / "state", fleet)
    server = lab.bootserve(state_dir=tmp_path / "state", arguments=SCALED).start()
    attach(server.namespace, client)
    admin = Admin(server.state_dir)
    for number in (1, 2, 3):
        admin.publish("web", str(number))
    admin.call("PUT", "/pins", scope="role/compute", generation="web@1")
    return World(admin, fleet, server.state_dir)


def test_ten_thousand_nodes(world: World) -> None:
    fleet, admin = world.fleet, world.admin
    chosen = random.Random(SEED)
    bad = {name for name in fleet.nodes if chosen.random() < 0.02} - {"n00000"}
    first = [node for node in fleet.nodes.values() if node.name in bad or node.number <= 100]
    fleet.each(fleet.start, first)  # they have run web@1 before; the others come new
    fleet.works = lambda node, given: given == "web@1" or node.name not in bad
    body = {"scope": "role/compute", "soak": SOAK, "stages": "1, 10%, 50%, 100%"}
    made = admin.call("POST", "/rollouts", generation="web@2", success=0.95, **body)
    end = world.play(made["number"])
    assert end["state"] == "done", end["reason"]
    assert end["counts"] == {"done": NODES - len(bad), "failed": len(bad)}
    assert [stage["nodes"] for stage in end["stages"]] == [1, 999, 4000, 5000]
    assert {one["node"] for one in world.members(made["number"], "failed")} == bad
    check_books(world, bad)
    check_failure(world)
    assert admin.call("POST", "/audit/verify")["intact"]


def check_failure(world: World) -> None:
    """A second rollout fails in its second stage, and its nodes are where they were."""
    fleet, admin = world.fleet, world.admin
    names = sorted(fleet.nodes)
    stage = names[1 : NODES // 50]
    chosen = random.Random(SEED)
    bad = set(chosen.sample(stage, 4))  # one of a hundred may fail
    fleet.works = lambda node, given: given != "web@3" or node.name not in bad
    fleet.each(fleet.start, [fleet.nodes[name] for name in names[: NODES // 50]])
    body = {"scope": "role/compute", "stages": "1, 2%, 100%", "soak": SOAK, "success": 0.99}
    agent = {"reboot": "agent", "max_unavailable": "2%", "node_timeout": 5}
    made = admin.call("POST", "/rollouts", generation="web@3", **body, **agent)
    end = world.obey(made["number"])
    assert end["state"] == "failed"
    assert re.fullmatch(r"stage 2 failed: \d+ of its 199 nodes failed", end["reason"]), end[
        "reason"
    ]
    failed = {one["node"] for one in world.members(made["number"], "failed")}
    assert 2 <= len(failed) <= len(bad)
    assert failed <= bad
    assert end["counts"]["waiting"] + end["counts"].get("done", 0) == NODES - len(failed)
    pins = {one["scope"]: one["generation"] for one in admin.call("GET", "/pins")["pins"]}
    assert pins == {
        "role/compute": "web@2",
        f"node/{names[0]}": "web@3",
    }  # its first stage was done
    fleet.each(fleet.start, [fleet.nodes[name] for name in stage])
    assert {fleet.nodes[name].running for name in stage} == {"web@2"}
    assert fleet.nodes[names[0]].running == "web@3"


def check_books(world: World, bad: set[str]) -> None:
    """Boots, pins, revisions, marks and the audit log agree with what the nodes did."""
    fleet, admin = world.fleet, world.admin
    status = admin.call("GET", "/status")
    assert [one["scope"] for one in admin.call("GET", "/pins")["pins"]] == ["role/compute"]
    with sqlite3.connect(world.state_dir / "bootserve.db") as database:
        boots = database.execute("SELECT node, image || '@' || number FROM boot ORDER BY id")
        starts: dict[str, list[str]] = {}
        for node, generation in boots:
            starts.setdefault(node, []).append(generation)
        revisions = [row[0] for row in database.execute("SELECT message FROM revision")]
        audited = database.execute("SELECT count(*) FROM audit WHERE kind = 'boot'").fetchone()
    assert starts == {one.name: one.starts for one in fleet.nodes.values()}
    assert audited == (sum(len(one.starts) for one in fleet.nodes.values()),)
    assert [text.partition(": ")[2] for text in revisions if text.startswith("rollout")] == [
        "stage 1 of 4: 1 node to web@2",
        "stage 2 of 4: 999 nodes to web@2",
        "stage 3 of 4: 4000 nodes to web@2",
        "stage 4 of 4: 5000 nodes to web@2",
        "done: role/compute is pinned to web@2",
    ]
    degraded = {one.partition(":")[0] for one in status["degraded"]}
    assert degraded == {name for name in bad if fleet.nodes[name].running == "web@1"}
    racks = Counter(fleet.nodes[name].number // RACK for name in degraded)
    assert max(racks.values()) <= 2
    assert all(one.running == "web@2" for one in fleet.nodes.values() if one.name not in bad)
