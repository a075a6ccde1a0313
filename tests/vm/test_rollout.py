"""A rollout over four real nodes in two racks: a broken generation is stopped at the first of them.

That node reboots by itself and comes back on the generation before, the others never left it; then
a good one goes through all stages. A root without an init ends each boot in the initramfs; a system
that hangs is rebooted by its deadline.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.pytest_plugin import VmFactory

from bootserve.build.bundle import Bundle
from tests.support.bundles import built_once, hang_at_start
from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.matrix, pytest.mark.timeout(2400)]

RACKS = {"n1": "r1", "n2": "r1", "n3": "r2", "n4": "r2"}
OTHERS = ("n2", "n3", "n4")
UP_SECONDS = 400.0
ROLLOUT_SECONDS = 1200.0
SETTINGS = ("--heartbeat-seconds", "15", "--heartbeats-missed", "6", "--rollout-seconds", "0.5")
"""A heartbeat is some work for a node that is emulated, and four of them share two cores."""
POLICY = ("--stages", "1, 50%, 100%", "--max-unavailable", "2", "--reboot", "agent")
TOLD = (
    r"revision +\d+ +pin node/n1 demo@2 set: rollout 1: stage 1 of 3: 1 node to demo@2",
    r"node/n1 +boot +\d+ +boots demo@2",
    r"rollout 1: n1 failed: {why}",
    r"rollout 1: stage 1 failed: 1 of its 1 nodes failed; the pins of 1 node are put back",
    r"node/n1 +boot +\d+ +boots demo@1",
    r"node/n1 +report +\d+ +reports up, runs demo@1",
)


def _no_init(definition: Path) -> None:
    script = definition / "scripts/90-no-init"
    script.write_text("#!/bin/sh -e\nrm /sbin/init\n")
    script.chmod(0o755)
    settings = definition / "image.toml"
    text = settings.read_text()
    services = '"scripts/10-services"'
    assert services in text
    settings.write_text(text.replace(services, f'{services}, "scripts/90-no-init"'))


def _hanging(definition: Path) -> None:
    hang_at_start(definition)
    settings = definition / "image.toml"
    text = settings.read_text()
    assert "115200 quiet" in text
    settings.write_text(text.replace("115200 quiet", "115200 quiet bootserve.up_timeout=120"))


@dataclass(frozen=True)
class Broken:
    """A way to break the demo image, and what becomes of it."""

    change: Callable[[Path], None]
    policy: tuple[str, ...]
    why: str
    console: str
    phase: str


NO_INIT = Broken(
    _no_init,
    (),
    "it was given demo@2 3 times and did not report up",
    "rebooting: the root has no /sbin/init",
    "failed +the root has no /sbin/init",
)
HANGS = Broken(
    _hanging,
    ("--node-timeout", "110s"),
    "it did not report up within 110 s",
    "this node is not up in time",
    "mounted",
)


class Fleet:
    """The four nodes, and what the server tells of them."""

    def __init__(self, site: Site, vm: VmFactory) -> None:
        self.site = site
        self.admin = site.admin
        self.machines = {name: vm(name) for name in RACKS}

    def power_on(self) -> None:
        for pair in (("n1", "n2"), ("n3", "n4")):  # more at once take longer than one by one
            for name in pair:
                self.machines[name].start()
            for name in pair:
                self.site.wait(self.machines[name], "up", UP_SECONDS)

    def start(self, generation: str, *policy: str) -> int:
        words = ("rollout", "start", "site", generation, *POLICY, *policy)
        return int(self.site.server.json(*words)["number"])

    def end(self, number: int) -> tuple[Any, Counter[str]]:
        """Wait until a rollout is over; return it, and the drift that was seen."""
        seen: Counter[str] = Counter()
        deadline = time.monotonic() + ROLLOUT_SECONDS
        while (found := self.admin.call("GET", f"/rollouts/{number}"))["state"] == "running":
            assert time.monotonic() < deadline, found
            assert all(machine.running for machine in self.machines.values())
            for node in self.admin.call("GET", "/drift")["nodes"]:
                seen.update(f"{node['node']} {state}" for state in node["states"])
            time.sleep(0.5)
        return found, seen

    def running(self) -> dict[str, tuple[str, str]]:
        """Return the boot and the generation that each node's last heartbeat told."""
        every = {name: self.admin.call("GET", f"/nodes/{name}/drift")["running"] for name in RACKS}
        return {name: (one["boot"], one["generation"]) for name, one in every.items()}

    def wait_back(self, name: str, generation: str) -> None:
        """Wait for a node that started over to be up with ``generation``, unaltered."""
        before = self.running()[name][0]
        deadline = time.monotonic() + UP_SECONDS
        while True:
            found = self.admin.call("GET", f"/nodes/{name}/drift")
            running = found["running"]
            if running["boot"] != before and running["heartbeats"]:
                break
            assert time.monotonic() < deadline, found
            time.sleep(0.5)
        assert (running["generation"], found["states"], found["entries"]) == (generation, [], [])

    def boots(self, name: str) -> list[str]:
        """Return the generations that a node was given, in order."""
        boots = self.admin.call("GET", f"/boots?node={name}")["boots"]
        return [one["generation"] for one in reversed(boots)]


@pytest.mark.parametrize("broken", [NO_INIT, HANGS], ids=["no-init", "hangs"])
def test_a_broken_generation_stops_at_one_node_and_a_good_one_reaches_all(
    broken: Broken,
    lab: Lab,
    vm: VmFactory,
    bundles: tuple[Bundle, Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    bad = built_once(tmp_path_factory, broken.change.__name__.strip("_"), broken.change)
    site = Site(lab, lab.bootserve(arguments=list(SETTINGS)).start())
    site.bring_in(bundles[0], bad, bundles[1])
    for name, rack in RACKS.items():
        site.add(name, rack=rack)
    site.admin.call("PUT", "/pins", scope="site", generation="demo@1")
    fleet = Fleet(site, vm)
    fleet.power_on()
    _stops_at_the_first_node(fleet, broken)
    _tells_the_story(fleet, broken)
    _reaches_all(fleet)
    site.server.stop()


def _stops_at_the_first_node(fleet: Fleet, broken: Broken) -> None:
    before = fleet.running()
    assert {generation for _, generation in before.values()} == {"demo@1"}
    failed, seen = fleet.end(fleet.start("demo@2", "--soak", "2s", *broken.policy))
    assert failed["state"] == "failed"
    assert "stage 1 failed: 1 of its 1 nodes failed" in failed["reason"]
    assert {"n1 stale"} <= set(seen) <= {"n1 stale", "n1 silent"}
    fleet.machines["n1"].expect(broken.console, UP_SECONDS)
    fleet.wait_back("n1", "demo@1")
    others = {name: fleet.running()[name] for name in OTHERS}
    assert others == {name: before[name] for name in OTHERS}  # the very boots of the beginning


def _tells_the_story(fleet: Fleet, broken: Broken) -> None:
    """What an admin reads the morning after."""
    cli = fleet.site.server.cli
    lines = iter(reversed(cli("audit", "--limit", "1000").splitlines()))
    for part in TOLD:
        assert any(re.search(part.format(why=broken.why), line) for line in lines), part
    given = re.findall(r"(node/\S+) +boot +\d+ +boots (\S+)", cli("audit", "--kind", "boot"))
    assert {node for node, generation in given if generation != "demo@1"} == {"node/n1"}
    assert "Intact" in cli("audit", "verify")
    boots = fleet.boots("n1")
    assert boots == ["demo@1", *["demo@2"] * (len(boots) - 2), "demo@1"]
    timeline = cli("boots", "n1", "--timeline")
    assert len(re.findall(f"demo@2 [^@]* {broken.phase}", timeline)) == len(boots) - 2
    drift = cli("drift", "--all").splitlines()[1:]
    assert [line.split()[:4] for line in drift if line] == [
        [name, rack, "demo@1", "none"] for name, rack in RACKS.items()
    ]


def _reaches_all(fleet: Fleet) -> None:
    number = fleet.start("demo@3", "--soak", "3s")
    done, _ = fleet.end(number)
    assert done["state"] == "done", done["reason"]
    assert [stage["nodes"] for stage in done["stages"]] == [1, 1, 2]
    revisions = fleet.admin.call("GET", "/revisions?limit=4")["revisions"]
    assert [one["message"] for one in reversed(revisions)] == [
        f"rollout {number}: stage 1 of 3: 1 node to demo@3",
        f"rollout {number}: stage 2 of 3: 1 node to demo@3",
        f"rollout {number}: stage 3 of 3: 2 nodes to demo@3",
        f"rollout {number}: done: site is pinned to demo@3",
    ]
    assert done["counts"] == {"done": 4}
    assert {generation for _, generation in fleet.running().values()} == {"demo@3"}
    assert [fleet.boots(name) for name in OTHERS] == [["demo@1", "demo@3"]] * 3
    pins = [(one["scope"], one["generation"]) for one in fleet.admin.call("GET", "/pins")["pins"]]
    assert pins == [("site", "demo@3")]
