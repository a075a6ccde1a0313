"""A generation that was revoked, through the whole server: nothing gives it to a node any more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from tests.cli.runner import Cli
from tests.support.api import Admin, Problem
from tests.support.fleet import Fleet, SimNode, attach

WHY = "it eats disks"
SETTINGS = ("--heartbeat-seconds", "1", "--known-good-everywhere", "--rollout-seconds", "0.1")
SITE = """\
roles:
  compute: {image: web}
racks:
  r1:
    defaults: {role: compute}
    nodes:
      n0: {macs: "52:54:00:00:00:01"}
      n1: {macs: "52:54:00:00:00:02"}
pins:
  site: web@1
"""


class Site:
    """A server with web@1 and web@2, of which the site is pinned to the second, and two nodes."""

    def __init__(self, lab: Lab, state_dir: Path) -> None:
        self.server: BootServer = lab.bootserve(state_dir=state_dir, arguments=SETTINGS)
        self.server.start()
        self.admin, self.cli = Admin(self.server.state_dir), Cli(self.server.state_dir)
        client = lab.client("client")
        attach(self.server.namespace, client)
        self.fleet = Fleet(client)
        self.fleet.add(["n0", "n1"])
        for number in (1, 2):
            self.admin.publish("web", str(number))
        self.admin.call("PUT", "/roles/compute", image="web")
        for node in self.fleet.nodes.values():
            place = {"macs": [node.mac], "role": "compute", "rack": "r1"}
            self.admin.call("POST", "/nodes", name=node.name, **place)
        self.pinned = self.pin("web@1")
        self.fleet.each(self.fleet.start, self.fleet.nodes.values())
        self.before = time.time()
        time.sleep(0.01)
        self.pin("web@2")

    def pin(self, generation: str) -> int:
        """Pin the site and return the revision."""
        made = self.admin.call("PUT", "/pins", scope="site", generation=generation)
        return int(made["revision"]["number"])

    def revoke(self) -> None:
        self.admin.call("POST", "/generations/web@1/revoke", reason=WHY)

    def refused(self, method: str, path: str, **body: Any) -> str:
        """Return how a request is refused."""
        with pytest.raises(Problem) as caught:
            self.admin.call(method, path, **body)
        return str(caught.value)

    def then(self, at: float) -> Any:
        """Return what was pinned for n0 at a time, and what it ran."""
        return self.admin.call("GET", f"/as-of?at={at!r}&scope=node/n0")["nodes"][0]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab for each test."""
    with Lab.create() as made:
        yield made


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Site:
    return Site(lab, tmp_path / "state")


def test_everything_that_gives_nodes_a_generation_refuses_it(site: Site, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    plan = tmp_path / "plan.json"
    site.cli("plan", "-f", tmp_path / "site.yaml", "-o", plan, code=2)  # while it was fit
    site.revoke()
    site.server.restart()
    said = f"web@1 was revoked by root: {WHY}"
    assert said in site.refused("PUT", "/pins", scope="node/n0", generation="web@1")
    begin = {"scope": "site", "generation": "web@1", "stages": "100%"}
    assert said in site.refused("POST", "/rollouts", **begin)
    once = "/nodes/n0/boot-once"
    refused = site.refused("PUT", once, action="generation", generation="web@1")
    assert "web@1" in refused
    assert f"revoked ({WHY})" in refused
    assert WHY in site.cli("plan", "-f", tmp_path / "site.yaml", code=1).err
    assert WHY in site.cli("apply", plan, "-m", "back", code=1).err
    lost = "pin site web@1: the generation was revoked"
    assert lost in site.refused("POST", "/rollback", to=site.pinned)
    listed = site.admin.call("POST", "/rollback", to=site.pinned, dry_run=True)["unrestorable"]
    assert listed == [lost]
    assert [one["generation"] for one in site.admin.call("GET", "/pins")["pins"]] == ["web@2"]
    # the answer to what was pinned is what it was, before and after
    then = site.then(site.before)
    assert (then["generation"], then["running"]["generation"]) == ("web@1", "web@1")
    assert site.then(time.time())["generation"] == "web@2"
    site.server.terminate()
    database = site.server.state_dir / "bootserve.db"
    database.write_bytes(b"this is no database" * 1000)
    site.server.start()  # from what it has kept of its last snapshot
    assert "the database is away" in str(site.admin.call("GET", "/status")["problems"])
    assert said in site.refused("POST", "/rollouts", **begin, dry_run=True)
    site.server.terminate()


def degraded(site: Site) -> SimNode:
    """Return the node n0, which was given web@2 three times and is given web@1 now."""
    node, other = site.fleet.nodes.values()
    site.fleet.works = lambda _node, given: given != "web@2"
    time.sleep(2.1)  # it has been quiet for two heartbeats
    for _ in range(4):
        site.fleet.each(site.fleet.beat, [other])
        site.fleet.each(site.fleet.start, [node])
    assert node.starts == ["web@1", *["web@2"] * 3, "web@1"]
    assert site.admin.call("GET", "/status")["degraded"]
    return node


def test_who_was_given_it_in_place_of_its_pin_is_degraded_no_more(site: Site) -> None:
    node = degraded(site)
    site.revoke()
    assert site.admin.call("GET", "/status")["degraded"] == []
    assert site.admin.call("GET", "/nodes/n0")["degraded"] == ""
    why = f"it was given web@1, which was revoked ({WHY})"
    assert why in site.server.log_text()
    assert why in site.cli("audit", "--kind", "degraded").out
    site.server.kill()
    site.server.start()
    assert site.admin.call("GET", "/status")["degraded"] == []
    site.fleet.each(site.fleet.start, [node])
    assert node.starts[-1] == "web@2"


def _goes_on(rollout: Any) -> bool:
    """Whether it runs, or still waits for a node that it had asked: it holds that one meanwhile."""
    settled = set(rollout["counts"]) <= {"waiting", "done", "failed", "left"}
    return rollout["state"] == "running" or not settled


def test_a_rollout_is_not_tried_again_with_it(site: Site) -> None:
    site.admin.publish("web", "3")
    site.fleet.works = lambda _node, given: given != "web@3"
    policy = {"stages": "1, 100%", "success": 1.0, "node_timeout": 0.5, "reboot": "agent"}
    made = site.admin.call("POST", "/rollouts", scope="site", generation="web@3", **policy)
    path, deadline = f"/rollouts/{made['number']}", time.monotonic() + 60
    while _goes_on(found := site.admin.call("GET", path)):
        site.fleet.each(site.fleet.obey, site.fleet.nodes.values())
        assert time.monotonic() < deadline, found
    assert found["state"] == "failed"
    site.admin.call("POST", "/generations/web@3/revoke", reason=WHY)
    refused = site.refused("POST", f"{path}/retry")
    assert f"web@3 was revoked by root: {WHY}" in refused
    assert site.admin.call("GET", path)["state"] == "failed"
    assert [one["generation"] for one in site.admin.call("GET", "/pins")["pins"]] == ["web@2"]
