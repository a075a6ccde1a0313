"""Reboots by hand on a real server: hooks, the reboot, what survives a kill."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.servers.reboots.conftest import Site
from tests.support.api import Problem

BEFORE = ["cordon before 1 0", "drain before 1 0"]
PRESS = "press reboot 1 0"
AFTER = "uncordon after 1 1"


def waiting(one: dict[str, Any]) -> bool:
    return bool(one["phase"] == "waiting")


def test_hooks_before_the_reboot_and_after_it_in_order(site: Site) -> None:
    name, machine = site.node()
    begun = site.admin.call("POST", f"/nodes/{name}/reboot", by="hook")
    assert (begun["phase"], begun["to_generation"]) == ("before", "web@1")
    assert site.until(name, waiting)["told_at"] is not None
    assert site.calls(name) == [*BEFORE, PRESS]
    with pytest.raises(Problem, match=r"409.*being rebooted already"):
        site.admin.call("POST", f"/nodes/{name}/reboot")
    machine.fetch_script()
    assert waiting(site.reboots(name)[0])
    machine.report_up()
    done = site.ended(name)
    assert (done["done"], done["up"], done["failure"]) == (True, True, "")
    assert site.calls(name) == [*BEFORE, PRESS, AFTER]
    assert [run["outcome"] for run in done["runs"]] == ["succeeded"] * 4
    assert done["runs"][0]["output"] == f"cordon at {name}\n"
    assert done["id"] == f"reboot-{name}-1"


def test_a_hook_that_fails_leaves_the_node_alone_and_puts_it_back(site: Site) -> None:
    name, machine = site.node()
    machine.come_up()
    site.says("drain", f"[ $BOOTSERVE_NODE != {name} ] || {{ echo budget; exit 4; }}")
    site.admin.call("POST", f"/nodes/{name}/reboot", by="hook")
    done = site.ended(name)
    assert done["failure"] == "hook drain failed: exit code 4, 2 times"
    assert (done["done"], done["skipped"], done["told_at"]) == (False, False, None)
    assert site.calls(name) == [*BEFORE, "drain before 2 0", "uncordon after 1 0"]
    assert done["runs"][2]["output"] == f"drain at {name}\nbudget\n"


@pytest.mark.parametrize(("rack", "skipped"), [("r2", True), ("r3", False)])
def test_on_failure(site: Site, rack: str, skipped: bool) -> None:
    name, machine = site.node(rack)
    for hook in ("aside", "noted"):
        site.says(hook, "exit 1")
    site.admin.call("POST", f"/nodes/{name}/reboot", by="hook")
    if skipped:
        assert site.ended(name)["skipped"]
        assert PRESS not in site.calls(name)
        return
    site.until(name, waiting)
    machine.come_up()
    done = site.ended(name)
    assert done["done"]
    assert "hook noted failed: exit code 1" in done["detail"]


def test_without_hooks_none_is_run(site: Site) -> None:
    name, machine = site.node()
    site.admin.call("POST", f"/nodes/{name}/reboot", by="none", hooks=False)
    assert "somebody has to" in site.until(name, waiting)["detail"]
    machine.come_up()
    assert site.ended(name)["done"]
    assert site.calls(name) == []


def test_the_agent_is_asked_in_the_answer_to_its_heartbeat(site: Site) -> None:
    name, machine = site.node()
    machine.come_up()
    assert "reboot" not in machine.beat()
    reboot = site.admin.call("POST", f"/nodes/{name}/reboot")  # without a BMC: by the agent
    assert reboot["method"] == "agent"
    site.until(name, lambda one: one["phase"] == "reboot")
    deadline = time.monotonic() + 60
    while f"reboot={reboot['id']}\n" not in machine.beat():
        assert time.monotonic() < deadline
    site.until(name, waiting)
    assert f"reboot={reboot['id']}\n" in machine.beat()
    time.sleep(5.1)  # within 5 s a script that is asked for again is of the same boot
    machine.come_up()
    assert "reboot" not in machine.beat()
    done = site.ended(name)
    assert (done["done"], done["from_generation"]) == (True, "web@1")
    assert "reboot" not in machine.beat()


def test_one_that_is_cancelled_is_left_off(site: Site) -> None:
    name, _ = site.node()
    site.says("cordon", f"[ $BOOTSERVE_NODE != {name} ] || exec sleep 600")
    site.admin.call("POST", f"/nodes/{name}/reboot", by="hook")
    site.called(name, 1)
    cancelled = site.admin.call("DELETE", f"/nodes/{name}/reboot")
    assert cancelled["failure"] == "cancelled by root"
    assert cancelled["runs"][0]["outcome"] == "unknown"
    with pytest.raises(Problem, match=r"404.*no reboot"):
        site.admin.call("DELETE", f"/nodes/{name}/reboot")
    assert site.calls(name) == ["cordon before 1 0"]


def test_a_kill_runs_no_hook_again_but_the_one_whose_outcome_is_unknown(site: Site) -> None:
    name, machine = site.node()
    hang = site.folder / "hang"
    hang.touch()
    site.says("drain", f"[ $BOOTSERVE_NODE != {name} ] || [ ! -e {hang} ] || exec sleep 600")
    site.admin.call("POST", f"/nodes/{name}/reboot", by="hook")
    site.called(name, 2)
    site.server.kill()
    hang.unlink()
    site.server.start()
    shown = site.until(name, waiting)
    assert [run["outcome"] for run in shown["runs"]][:3] == ["succeeded", "unknown", "succeeded"]
    assert site.calls(name) == [*BEFORE, "drain before 2 0", PRESS]
    site.server.kill()  # while it waits for the node
    site.server.start()
    machine.come_up()
    assert site.ended(name)["done"]
    assert site.calls(name) == [*BEFORE, "drain before 2 0", PRESS, AFTER]


def test_a_node_that_is_removed_meanwhile_ends_it(site: Site) -> None:
    name, _ = site.node()
    go = site.folder / "go"
    site.says("cordon", f"[ $BOOTSERVE_NODE != {name} ] || until [ -e {go} ]; do sleep 0.1; done")
    site.admin.call("POST", f"/nodes/{name}/reboot", by="hook")
    site.called(name, 1)
    site.admin.call("DELETE", f"/nodes/{name}")
    Path(go).touch()
    assert site.ended(name)["failure"] == f"there is no node {name} any more"
