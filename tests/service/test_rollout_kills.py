"""kill -9 of the server in each state of a rollout and of its nodes: it goes on where it was."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from tests.support.api import Admin
from tests.support.fleet import Fleet, SimNode, attach

NAMES = [f"n{number}" for number in range(3)]
QUICK = ("--rollout-seconds", "0.1", "--heartbeat-seconds", "1", "--heartbeats-missed", "1000")
HOOKS = """
[[hooks]]
name = "before"
when = "before"
run = ["/bin/sh", "-c", "echo before $BOOTSERVE_NODE >>{notes}; sleep 0.5"]

[[hooks]]
name = "after"
when = "after"
run = ["/bin/sh", "-c", "echo after $BOOTSERVE_NODE >>{notes}; sleep 0.5"]
"""


class Site:
    """A server with hooks that take a second, and nodes that do as they are asked."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.notes = folder / "notes"
        self.notes.touch(mode=0o666)
        self.notes.chmod(0o666)
        config = folder / "bootserve.toml"
        config.write_text(HOOKS.format(notes=self.notes))
        arguments = [*QUICK, "--config", str(config)]
        self.server: BootServer = lab.bootserve(state_dir=folder / "state", arguments=arguments)
        self.server.start()
        self.admin = Admin(self.server.state_dir)
        client = lab.client("client")
        attach(self.server.namespace, client)
        self.fleet = Fleet(client)
        self.fleet.add(NAMES)
        for number in range(1, 4):
            self.admin.publish("web", str(number))
        self.admin.call("PUT", "/roles/compute", image="web")
        for node in self.fleet.nodes.values():
            self.admin.call("POST", "/nodes", name=node.name, macs=[node.mac], role="compute")
        self.admin.call("PUT", "/pins", scope="site", generation="web@1")
        self.fleet.each(self.fleet.start, self.fleet.nodes.values())

    def begin(self, generation: str, **body: Any) -> int:
        given = {"scope": "site", "stages": "1, 100%", "max_unavailable": "2", "soak": 0.6}
        made = self.admin.call(
            "POST", "/rollouts", **{**given, "reboot": "agent", "generation": generation, **body}
        )
        return int(made["number"])

    def show(self, number: int) -> Any:
        return self.admin.call("GET", f"/rollouts/{number}")

    def nodes_in(self, number: int, *states: str) -> list[SimNode]:
        found = self.show(number)["unsettled"]
        return [self.fleet.nodes[one["node"]] for one in found if one["state"] in states]

    def kill(self) -> None:
        """Kill the server, look at the books that it left, and start it again."""
        self.server.kill()
        self.check_books()
        self.server.start()

    def check_books(self) -> None:
        """What is stored of rollouts, pins and revisions fits together at any moment."""
        with sqlite3.connect(self.server.state_dir / "bootserve.db") as database:
            pinned = database.execute(
                "SELECT m.node, r.generation FROM rollout_member m JOIN rollout r"
                " ON r.number = m.rollout WHERE m.pinned"
            ).fetchall()
            pins = database.execute(
                "SELECT scope_name, image || '@' || number FROM pin"
                " WHERE scope_kind = 'node' AND until IS NULL"
            ).fetchall()
            numbers = database.execute("SELECT number FROM revision ORDER BY number").fetchall()
        assert sorted(pinned) == sorted(pins)
        assert [row[0] for row in numbers] == list(range(len(numbers)))

    def until(self, check: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 60
        while not (found := check()):
            assert time.monotonic() < deadline, self.admin.call("GET", "/rollouts")
            time.sleep(0.05)
        return found

    def obey(self, number: int) -> None:
        """Let the nodes that wait to be asked send their heartbeat."""
        waiting = self.nodes_in(number, "rebooting", "booting", "soaking")
        self.fleet.each(self.fleet.obey, waiting)

    def reached(self, number: int, stage: int) -> bool:
        self.obey(number)
        return bool(self.show(number)["stage"] == stage)

    def play(self, number: int) -> Any:
        def over() -> Any:
            self.obey(number)
            found = self.show(number)
            settled = set(found["counts"]) <= {"waiting", "done", "failed", "left"}
            return found if found["state"] != "running" and settled else None

        return self.until(over)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab for each test: each begins with nodes that have booted web@1 and nothing else."""
    with Lab.create() as made:
        yield made


@pytest.fixture
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    folder.chmod(0o755)
    return Site(lab, folder)


def test_a_kill_in_every_state_of_a_node(site: Site) -> None:
    number = site.begin("web@2")
    site.kill()  # begun, perhaps before its first stage
    for state in ("before", "rebooting"):
        site.until(lambda state=state: site.nodes_in(number, state))  # type: ignore[misc]
        site.kill()
    (node,) = site.until(lambda: site.nodes_in(number, "rebooting"))
    asked: list[str] = []

    async def ask(one: SimNode) -> None:
        asked.append(await site.fleet.beat(one))

    while not any(asked):
        site.fleet.each(ask, [node])
    site.kill()  # told, and not back yet
    site.fleet.each(site.fleet.start, [node])
    for state in ("soaking", "after"):
        site.until(lambda state=state: site.nodes_in(number, state))  # type: ignore[misc]
        site.kill()
    end = site.play(number)
    assert (end["state"], end["counts"]) == ("done", {"done": 3})
    site.kill()  # done
    assert site.show(number)["state"] == "done"
    assert [one["scope"] for one in site.admin.call("GET", "/pins")["pins"]] == ["site"]
    assert {one.running for one in site.fleet.nodes.values()} == {"web@2"}
    assert [one.starts for one in site.fleet.nodes.values()] == [["web@1", "web@2"]] * 3
    notes = site.notes.read_text().split("\n")
    assert all(notes.count(f"before {name}") in (1, 2) for name in NAMES)  # at least once
    assert all(notes.count(f"after {name}") in (1, 2) for name in NAMES)


def test_a_kill_in_every_state_of_a_rollout(site: Site) -> None:
    site.fleet.works = lambda _node, given: given != "web@3"
    number = site.begin("web@3", node_timeout=2.0, success=1.0)
    site.until(lambda: site.show(number)["stage"] == 1)
    site.admin.call("POST", f"/rollouts/{number}/pause")
    site.kill()
    assert site.show(number)["state"] == "paused"
    site.admin.call("POST", f"/rollouts/{number}/resume")
    end = site.play(number)
    assert (end["state"], end["counts"]) == ("failed", {"failed": 1, "waiting": 2})
    site.kill()
    assert site.show(number)["reason"] == "stage 1 failed: 1 of its 1 nodes failed"
    assert [one["generation"] for one in site.admin.call("GET", "/pins")["pins"]] == ["web@1"]
    site.fleet.works = lambda _node, _given: True
    site.fleet.each(site.fleet.start, site.fleet.nodes.values())
    site.admin.call("POST", f"/rollouts/{number}/retry")
    site.kill()
    assert site.show(number)["state"] == "running"
    site.until(lambda: site.reached(number, 2))
    site.admin.call("POST", f"/rollouts/{number}/abort")
    site.kill()
    assert site.show(number)["state"] == "aborted"
    site.play(number)
    assert [one["scope"] for one in site.admin.call("GET", "/pins")["pins"]] == ["site"]
    revisions = site.admin.call("GET", "/revisions?limit=4")["revisions"]
    assert ["put back" in one["message"] for one in revisions] == [True, False, False, True]
