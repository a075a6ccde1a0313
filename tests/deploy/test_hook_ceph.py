"""noout around a reboot; the cluster's command line is a stand-in that checks each call."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.hook_runs import HOOKS, run_hook

STAND_IN = f"""#!{sys.executable}
# as much of the ceph command as the hook uses; the cluster is a file
import json, sys
from pathlib import Path
path = Path(__file__).with_name("cluster.json")
cluster = json.loads(path.read_text())
words = sys.argv[1:]
assert words[:4] == ["--name", "client.bootserve", "--keyring", "/etc/k"], words
assert words[-2:] == ["--format", "json"], words
words = words[4:-2]
cluster["calls"].append(" ".join(words))
code, out = 0, None
if words[:2] == ["osd", "ls-tree"]:
    if words[2] not in cluster["hosts"]:
        print(f"Error ENOENT: no name {{words[2]}}", file=sys.stderr)
        code = 2
    out = cluster["hosts"].get(words[2])
elif words[:2] == ["osd", "ok-to-stop"]:
    cluster["busy"] -= 1
    if cluster["busy"] >= 0 or len(words) - 2 > cluster["most"]:
        print("Error EBUSY: unsafe to stop osd(s) at this time", file=sys.stderr)
        code = 16
elif words == ["osd", "dump"]:
    cluster["down"] -= 1
    up = int(cluster["down"] < 0)
    out = {{"osds": [{{"osd": n, "up": up if n == 4 else 1, "in": 1}} for n in range(6)]}}
    out["crush_node_flags"] = {{name: ["noout"] for name in cluster["noout"]}}
elif words[:3] == ["osd", "set-group", "noout"]:
    cluster["noout"] = sorted({{*cluster["noout"], words[3]}})
elif words[:3] == ["osd", "unset-group", "noout"]:
    cluster["noout"].remove(words[3])
else:
    sys.exit(f"no such command: {{words}}")
path.write_text(json.dumps(cluster))
print("" if out is None else json.dumps(out))
sys.exit(code)
"""


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.program = folder / "ceph"
        self.program.write_text(STAND_IN)
        self.program.chmod(0o755)
        self._path = folder / "cluster.json"
        hosts = {"n1": [3, 4, 5], "n2": [], "n3": [0, 1, 2]}
        self.set(hosts=hosts, busy=0, most=3, down=0, noout=[], calls=[])

    def set(self, **values: Any) -> None:
        known = self.state if self._path.exists() else {}
        self._path.write_text(json.dumps({**known, **values}))

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._path.read_text())
        return found

    async def __call__(self, action: str, *words: str, **more: Any) -> str:
        own = ["--ceph", str(self.program), "--pause", "0.01", *words]
        key = ["--", "--name", "client.bootserve", "--keyring", "/etc/k"]
        return await run_hook("ceph.py", action, *own, *key, **more)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


async def test_noout_is_set_once_the_host_may_stop_and_taken_back_once_it_is_up(
    cluster: Cluster,
) -> None:
    cluster.set(busy=2)
    assert await cluster("before") == "noout is set for n1, which has 3 OSDs\n"
    assert cluster.state["noout"] == ["n1"]
    ask = ["osd set-group noout n1", "osd dump", "osd ok-to-stop 3 4 5"]
    no = [*ask, "osd unset-group noout n1"]
    assert cluster.state["calls"] == ["osd ls-tree n1", "osd dump", *no, *no, *ask]
    cluster.set(calls=[], down=2)
    said = await cluster("after")
    assert said == "noout is no longer set for n1; its 3 OSDs are up\n"
    assert cluster.state["noout"] == []
    dump = ["osd dump"] * 3
    assert cluster.state["calls"] == ["osd ls-tree n1", *dump, "osd unset-group noout n1"]


async def test_a_host_that_may_not_stop_is_left_alone(cluster: Cluster) -> None:
    cluster.set(busy=1_000_000)
    said = await cluster("before", "--timeout", "0.3", code=1)
    assert "may not stop now: Error EBUSY: unsafe to stop osd(s)" in said
    assert cluster.state["noout"] == []


async def test_two_hosts_that_may_not_both_stop_go_one_after_the_other(cluster: Cluster) -> None:
    """The second one asks while the first, which may go, is still up."""
    await cluster("before")
    said = await cluster("before", "--host", "n3", "--timeout", "0.3", code=1)
    assert "of n3 may not stop now, beside those of n1, which have noout: Error EBUSY" in said
    assert cluster.state["noout"] == ["n1"]
    assert "osd ok-to-stop 0 1 2 3 4 5" in cluster.state["calls"]
    await cluster("after")
    assert await cluster("before", "--host", "n3") == "noout is set for n3, which has 3 OSDs\n"


async def test_noout_that_was_there_stays(cluster: Cluster) -> None:
    cluster.set(busy=1_000_000, noout=["n1"])
    await cluster("before", "--timeout", "0.1", code=1)
    assert cluster.state["noout"] == ["n1"]


async def test_osds_that_stay_down_keep_noout_and_say_how_to_go_on(cluster: Cluster) -> None:
    await cluster("before")
    cluster.set(down=1_000_000)
    said = await cluster("after", "--timeout", "0.3", code=1)
    assert "osd.4 of n1 are down; noout stays set" in said
    assert "ceph osd unset-group noout n1" in said
    assert cluster.state["noout"] == ["n1"]


async def test_a_test_changes_nothing(cluster: Cluster) -> None:
    said = await cluster("before", test=True)
    assert said.startswith("test: the 3 OSDs of n1 may stop")
    assert await cluster("after", test=True) == "test: the 3 OSDs of n1 are up\n"
    assert not [one for one in cluster.state["calls"] if "set-group" in one]


async def test_a_host_without_osds_and_one_that_is_not_there(cluster: Cluster) -> None:
    assert await cluster("before", label="ceph-host=n2") == "n2 has no OSDs\n"
    assert "ENOENT: no name n9" in await cluster("before", "--host", "n9", code=1)


async def test_without_the_command_it_says_what_to_install() -> None:
    said = await run_hook("ceph.py", "before", "--ceph", "/nowhere/ceph", code=1)
    assert "/nowhere/ceph is not installed here: install ceph-common" in said


@pytest.mark.parametrize("name", ["kubernetes.py", "ceph.py", "openstack.py"])
async def test_every_hook_teaches(name: str) -> None:
    said = await run_hook(name, "--help")
    assert "[[hooks]]" in said
    assert "BOOTSERVE_TEST" in said
    assert (HOOKS / name).read_text().startswith("#!/usr/bin/python3\n")
    assert "the following arguments are required" in await run_hook(name, code=2)
