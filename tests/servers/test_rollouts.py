"""Rollouts through the whole server: simulated nodes, the API and the command line."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from tests.cli.runner import Cli
from tests.support.api import Admin, Problem
from tests.support.fleet import Fleet, SimNode, attach

QUICK = ["--rollout-seconds", "0.1", "--heartbeat-seconds", "1", "--heartbeats-missed", "1000"]
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
    made.each(made.start, made.nodes.values())
    return made


def until(check: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.05)
    return found


def shown(admin: Admin, number: int) -> Any:
    return admin.call("GET", f"/rollouts/{number}")


def play(admin: Admin, fleet: Fleet, number: int) -> Any:
    """Let nodes heartbeat, and reboot when asked, until the rollout is over; return it.

    At no time are more of them asked to than the rollout may have on their way.
    """

    def over() -> Any:
        found = shown(admin, number)
        if found["state"] not in ("running",):
            return found
        wishes = [node for node in fleet.nodes.values() if wish(fleet, node)]
        if found["policy"]["reboot"] == "agent":
            assert len(wishes) <= found["policy"]["max_unavailable"], found["counts"]
        fleet.each(fleet.start, wishes)
        return None

    return until(over)


def begin(admin: Admin, generation: str, **body: Any) -> int:
    given = {"scope": "site", "stages": "1, 50%, 100%", "max_unavailable": "2", "soak": 0.2}
    made = admin.call(
        "POST", "/rollouts", **{**given, "reboot": "agent", "generation": generation, **body}
    )
    return int(made["number"])


def starts(fleet: Fleet, *nodes: SimNode) -> None:
    fleet.each(fleet.start, nodes)


def beats(fleet: Fleet, *nodes: SimNode) -> None:
    fleet.each(fleet.beat, nodes)


def pins(admin: Admin) -> dict[str, str]:
    return {one["scope"]: one["generation"] for one in admin.call("GET", "/pins")["pins"]}


def test_a_rollout_goes_through_all_its_stages(admin: Admin, fleet: Fleet) -> None:
    before = admin.call("GET", "/status")["revision"]["number"]
    number = begin(admin, "web@2")
    assert [stage["nodes"] for stage in shown(admin, number)["stages"]] == [1, 5, 6]
    end = play(admin, fleet, number)
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


def test_a_stage_that_fails_puts_its_pins_back_and_the_node_gets_what_it_last_ran(
    admin: Admin, fleet: Fleet, server: BootServer, cli: Cli
) -> None:
    """The node's own doing: it is given the generation three times, then what it ran before."""
    fleet.works = lambda _node, given: given != "web@3"
    number = begin(admin, "web@3", success=1.0)
    node, others = asked(admin, fleet, number)
    for _ in range(3):
        beats(fleet, *others)
        starts(fleet, node)
    assert node.starts[-3:] == ["web@3"] * 3
    admin.call("POST", f"/rollouts/{number}/pause")  # so that its pin is there until it has started
    time.sleep(2.1)  # it has been quiet for two heartbeats
    beats(fleet, *others)
    starts(fleet, node)
    assert node.starts[-1] == node.running == "web@2"
    admin.call("POST", f"/rollouts/{number}/resume")
    end = until(lambda: over(admin, number))
    assert (end["state"], end["reason"]) == ("failed", "stage 1 failed: 1 of its 1 nodes failed")
    assert end["counts"] == {"failed": 1, "waiting": 11}
    assert pins(admin) == {"site": "web@2"}
    assert all(one.running == "web@2" for one in fleet.nodes.values())
    story = "\n".join(one["text"] for one in end["story"])
    assert "it was given web@3 3 times and did not report up" in story
    boot = admin.call("GET", f"/boots?node={node.name}&limit=1")["boots"][0]
    script = next(phase for phase in boot["phases"] if phase["phase"] == "script")
    assert script["detail"].startswith("last known good in place of web@3: it was given web@3")
    assert "degraded" in server.log_text()
    # its pin is back, so that there is nothing to be in place of any more
    assert until(lambda: admin.call("GET", f"/nodes/{node.name}")["degraded"] == "")


def over(admin: Admin, number: int) -> Any:
    """Return the rollout once it is over and no node of it is under way."""
    found = shown(admin, number)
    settled = set(found["counts"]) <= {"waiting", "done", "failed", "left"}
    return found if found["state"] != "running" and settled else None


def wish(fleet: Fleet, node: SimNode) -> str:
    """Let a node send a heartbeat; return the name under which it is to reboot, or nothing."""
    said: list[str] = []

    async def ask(one: SimNode) -> None:
        said.append(await fleet.beat(one))

    fleet.each(ask, [node])
    return said[0]


def asked(admin: Admin, fleet: Fleet, number: int) -> tuple[SimNode, list[SimNode]]:
    """Return the one node that the rollout has asked to reboot, and all the others."""
    booting = until(lambda: list(shown(admin, number)["unsettled"]))
    node = fleet.nodes[booting[0]["node"]]
    until(lambda: wish(fleet, node))
    return node, [one for one in fleet.nodes.values() if one is not node]


def test_a_degraded_node_is_shown_everywhere_and_released(
    admin: Admin, fleet: Fleet, cli: Cli, server: BootServer
) -> None:
    fleet.works = lambda _node, given: given != "web@4"
    number = begin(admin, "web@4", success=1.0, on_failure="hold")
    node, others = asked(admin, fleet, number)
    for _ in range(3):
        beats(fleet, *others)
        starts(fleet, node)
    admin.call("POST", f"/rollouts/{number}/pause")
    time.sleep(2.1)
    beats(fleet, *others)
    starts(fleet, node)
    admin.call("POST", f"/rollouts/{number}/resume")
    until(lambda: shown(admin, number)["state"] == "failed")
    told = "web@2 in place of web@4: it was given web@4 3 times and did not report up"
    assert admin.call("GET", f"/nodes/{node.name}/explain")["degraded"] == told
    assert re.search(f"Degraded +{node.name}: {told}", cli("status").out)
    server.kill()
    server.start()
    assert admin.call("GET", "/status")["degraded"] == [f"{node.name}: {told}"]
    starts(fleet, node)
    assert node.starts[-1] == "web@2"
    fleet.works = lambda _node, _given: True
    released = admin.call("POST", f"/nodes/{node.name}/release")
    assert released["waited"] == told
    starts(fleet, node)
    assert node.running == "web@4"
    assert admin.call("POST", f"/rollouts/{number}/abort")["state"] == "aborted"
    assert pins(admin) == {"site": "web@2"}
    starts(fleet, node)
    assert {one.running for one in fleet.nodes.values()} == {"web@2"}


def test_a_broken_report_path_moves_nobody_to_an_old_image(admin: Admin, fleet: Fleet) -> None:
    """Nodes boot again and again and nobody's reports arrive: they go on with their pin."""
    fleet.works = lambda _node, given: given != "web@5"
    number = begin(
        admin, "web@5", success=0.05, max_unavailable="100%", stages="100%", reboot="none"
    )
    until(lambda: shown(admin, number)["stage"] == 1)
    time.sleep(2.1)
    for _ in range(5):
        starts(fleet, *fleet.nodes.values())
    assert all(node.starts[-5:] == ["web@5"] * 5 for node in fleet.nodes.values())
    assert admin.call("GET", "/status")["degraded"] == []
    fleet.works = lambda _node, _given: True
    # the path is mended, and who starts just then is not taken for one that failed
    first, second, *others = fleet.nodes.values()
    fleet.each(fleet.report, others)
    starts(fleet, first, second)
    assert {first.starts[-1], second.starts[-1]} == {"web@5"}
    assert play(admin, fleet, number)["state"] == "done"
    assert {node.running for node in fleet.nodes.values()} == {"web@5"}
    assert admin.call("GET", "/status")["degraded"] == []


def test_a_forger_moves_nobody_who_speaks_and_few_who_do_not(admin: Admin, fleet: Fleet) -> None:
    """Somebody fetches scripts and roots in the name of every node, and never reports."""
    number = begin(admin, "web@6", success=0.5, stages="100%", reboot="none")
    until(lambda: shown(admin, number)["stage"] == 1)
    nodes = list(fleet.nodes.values())
    fleet.works = lambda _node, _given: False
    forged = Fleet(fleet.namespace, works=lambda _node, _given: False)
    forged.add(fleet.nodes)
    for node in forged.nodes.values():
        node.starts.extend(fleet.nodes[node.name].starts)
    starts(forged, *forged.nodes.values())
    beats(fleet, *nodes)
    for _ in range(4):
        starts(forged, *forged.nodes.values())
    beats(fleet, *nodes)  # every node speaks by the boot that it has been running all along
    assert admin.call("GET", "/status")["degraded"] == []
    fleet.works = lambda _node, _given: True
    starts(fleet, *nodes)
    assert all(node.running == "web@6" for node in nodes)
    assert play(admin, fleet, number)["state"] == "done"


def test_no_more_than_two_nodes_of_a_rack_are_degraded_at_once(admin: Admin, fleet: Fleet) -> None:
    """All are down, and somebody (or a broken image) makes every one of them seem to fail."""
    number = begin(admin, "web@7", success=0.05, stages="100%", reboot="none", soak=600)
    until(lambda: shown(admin, number)["stage"] == 1)
    *bad, good = fleet.nodes.values()
    fleet.works = lambda node, given: given != "web@7" or node is good
    starts(fleet, good)
    time.sleep(2.1)
    for _ in range(3):
        beats(fleet, good)
        starts(fleet, *bad)
    beats(fleet, good)
    starts(fleet, *bad)
    given = [node.starts[-1] for node in fleet.nodes.values()]
    assert (given.count("web@6"), given.count("web@7")) == (4, 8)
    racks = [one.partition(":")[0] for one in admin.call("GET", "/status")["degraded"]]
    assert sorted(fleet.nodes[name].number % 2 for name in racks) == [0, 0, 1, 1]
    admin.call("POST", f"/rollouts/{number}/abort")
    fleet.works = lambda _node, _given: True
    starts(fleet, *fleet.nodes.values())
    assert {node.running for node in fleet.nodes.values()} == {"web@6"}


def test_a_second_rollout_of_the_same_nodes_is_refused_with_the_number_of_the_first(
    admin: Admin, fleet: Fleet, cli: Cli
) -> None:
    number = begin(admin, "web@8", scope="rack/r1", reboot="none")
    until(lambda: shown(admin, number)["stage"] == 1)
    with pytest.raises(Problem) as refused:
        begin(admin, "web@8")
    assert refused.value.status == 409
    # n00, its first, has a pin of its own by now
    assert f"rollout {number} of web@8 has n02 and 4 more already" in str(refused.value)
    done = cli("rollout", "abort", "--keep-pins")
    assert "aborted" in done.out
    assert pins(admin)["node/n00"] == "web@8"
    admin.call("DELETE", "/pins?scope=node/n00")


def test_a_node_that_a_rollout_is_rebooting_is_not_rebooted_by_hand(
    admin: Admin, fleet: Fleet
) -> None:
    number = begin(admin, "web@8", stages="100%", max_unavailable="1")

    def under_way(state: str) -> list[SimNode]:
        found = shown(admin, number)["unsettled"]
        return [fleet.nodes[one["node"]] for one in found if one["state"] == state]

    (node,) = until(lambda: under_way("rebooting"))
    path = f"/nodes/{node.name}/reboot"
    with pytest.raises(Problem, match=rf"409.*rollout {number} is rebooting node {node.name}"):
        admin.call("POST", path, by="none")
    admin.call("POST", f"/rollouts/{number}/abort")

    def told() -> bool:
        beats(fleet, node)
        return bool(under_way("booting"))

    until(told)
    starts(fleet, node)
    until(lambda: over(admin, number))
    assert admin.call("POST", path, by="none")["by"] == "root"
    admin.call("DELETE", path)


def test_what_an_admin_pins_meanwhile_is_the_admins(admin: Admin, fleet: Fleet) -> None:
    number = begin(admin, "web@8", scope="rack/r1", stages="2, 100%")
    until(lambda: shown(admin, number)["stage"] == 1)
    admin.call("PUT", "/pins", scope="node/n00", generation="web@9")
    admin.call("PUT", "/pins", scope="node/n10", generation="web@9")
    end = play(admin, fleet, number)
    assert (end["state"], end["counts"]) == ("done", {"done": 4, "left": 2})
    assert pins(admin) == {
        "site": "web@6",
        "rack/r1": "web@8",
        "node/n00": "web@9",
        "node/n10": "web@9",
    }


def test_the_command_line_tells_the_story(cli: Cli, admin: Admin, fleet: Fleet) -> None:
    dry = cli("rollout", "start", "rack/r0", "web@9", "--dry-run", "--max-unavailable", "50%")
    assert "A rollout of web@9 over rack/r0 would be:" in dry.out
    assert (
        "more nodes than"
        in cli("rollout", "start", "rack/r0", "web@9", "--stages", "50%, 10%", code=1).err
    )
    begun = cli("rollout", "start", "rack/r0", "web@9", "--stages", "100%", "--soak", "0s")
    assert "has begun" in begun.out
    number = int(re.search(r"Rollout (\d+)", begun.out)[1])  # type: ignore[index]
    assert cli("rollout", "pause").out.startswith(f"Rollout {number} is paused: paused by")
    assert cli("rollout", "resume").out.startswith(f"Rollout {number} is running")
    rack = [node for node in fleet.nodes.values() if node.number % 2 == 0]
    until(lambda: shown(admin, number)["stage"] == 1)
    starts(fleet, *rack)
    watched = cli("rollout", "status", "-w", str(number))
    assert watched.out.splitlines()[-1].startswith(f"Rollout {number} is done")
    assert "done: rack/r0 is pinned to web@9 (revision" in watched.out
    assert "6 done" in cli("rollout", "status").out
    assert str(number) in cli("rollout", "list").out
    assert cli("rollout", "nodes", str(number), "--json").json["nodes"][0]["state"] == "done"
    assert "no rollout is under way" in cli("rollout", "pause", code=1).err
    admin.call("GET", "/boots")  # what the journal holds is in the database then
    with sqlite3.connect(cli.state_dir / "bootserve.db") as database:
        kinds = {row[0] for row in database.execute("SELECT DISTINCT kind FROM audit")}
    assert {"rollout", "revision"} <= kinds


def test_a_rollout_that_fails_is_retried_or_aborted_by_the_command_line(
    cli: Cli, admin: Admin, fleet: Fleet
) -> None:
    fleet.works = lambda _node, _given: True
    bad, good = admin.publish("web", "it never comes"), admin.publish("web", "it comes late")
    rack, before = [one for one in fleet.nodes.values() if one.number % 2 == 0], pins(admin)
    policy = ("--stages", "1, 100%", "--soak", "0s", "--stage-timeout", "1s")
    failed = cli("rollout", "start", "rack/r0", bad, *policy, "--watch", code=1)
    assert "stage 1 failed: it took over 1 s; the pins of 1 node are put back" in failed.out
    number = re.search(r"Rollout (\d+) .*failed", failed.out.splitlines()[-1])[1]  # type: ignore[index]
    assert f"Rollout {number} is failed" in cli("rollout", "status", "-w", number, code=1).out
    assert cli.json("rollout", "status", number)["state"] == "failed"
    assert pins(admin) == before
    held = cli("rollout", "start", "rack/r0", good, *policy, "--on-failure", "hold", "-w", code=1)
    number = re.search(r"Rollout (\d+) .*failed", held.out.splitlines()[-1])[1]  # type: ignore[index]
    first = {key: value for key, value in pins(admin).items() if key not in before}
    assert list(first.values()) == [good]
    starts(fleet, *[one for one in rack if f"node/{one.name}" in first])
    again = cli.json("rollout", "retry", number)
    assert (again["number"], again["state"]) == (int(number), "running")
    until(lambda: shown(admin, int(number))["stage"] == 2)
    ended = cli("rollout", "abort", number).out
    assert ended.startswith(f"Rollout {number} is aborted: aborted by"), ended
    assert pins(admin) == before
    assert "is aborted and cannot be retried" in cli("rollout", "retry", number, code=1).err
    starts(fleet, *rack)
