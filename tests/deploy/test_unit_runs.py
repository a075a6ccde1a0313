"""The unit as it is, run by a real systemd: the server works in its sandbox.

systemd is process 1 of namespaces of its own and starts this one unit. It sees this machine's
system, in which its own directories are empty ones, and a network of its own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NBP = Path("/usr/lib/ipxe/undionly.kpxe")
BASE = "10.77.0.1"

# DefaultDependencies: the rest of a machine, which is not to be started here.
DROP_IN = """
[Unit]
DefaultDependencies=no
Wants=
After=
"""
START = """
set -e
echo $$ >"$CGROUP/cgroup.procs"
exec unshare --pid --mount --uts --ipc --net --cgroup --fork --kill-child --propagation private \
  sh -e -c '
mount -t proc proc /proc
for place in /run /opt /etc/systemd/system /etc/default /var/lib /var/log
do mount -t tmpfs -o mode=755 tmpfs $place; done
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /opt/checkout /opt/packages /opt/bootserve/bin /run/systemd/system/bootserve.service.d
mount --bind "$CHECKOUT" /opt/checkout
mount --bind "$PACKAGES" /opt/packages
cat >/opt/bootserve/bin/bootserve <<END
#!/bin/sh
exec $PYTHON -P -m bootserve "\\$@"
END
chmod 755 /opt/bootserve/bin/bootserve
cat >/etc/default/bootserve <<END
BOOTSERVE_INTERFACE=eth1
PYTHONPATH=/opt/checkout:/opt/packages
END
cp /opt/checkout/deploy/bootserve.service /run/systemd/system/
printf "%s" "$DROP_IN" >/run/systemd/system/bootserve.service.d/alone.conf
ip link set lo up
ip link add eth1 type veth peer name eth2
ip address add 10.77.0.1/24 dev eth1
ip link set eth1 up
ip link set eth2 up
container=other exec /lib/systemd/systemd --system --unit=bootserve.service --log-target=null
'
"""


class Machine:
    """The namespaces; ``run`` runs a program in them."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, *argv: str) -> str:
        """Return what a program in there printed."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        enter = ("nsenter", f"--target={children[0]}", "--all")
        done = subprocess.run(
            [*enter, *argv], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout.strip()

    def shows(self, name: str) -> str:
        return self.run("systemctl", "show", "--property", name, "--value", "bootserve")

    def wait_active(self, restarts: int = 0) -> int:
        """Wait until systemd has had READY=1; return the server's process id in there."""
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(AssertionError, IndexError):  # systemd is not up yet
                assert self.shows("NRestarts") == str(restarts)
                if self.shows("ActiveState") == "active":
                    return int(self.shows("MainPID"))
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


def cgroup_mount() -> Path:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise AssertionError("this machine has no cgroup2")


@pytest.fixture
def machine() -> Iterator[Machine]:
    cgroup = cgroup_mount() / f"bootserve-unit-{os.getpid()}"
    cgroup.mkdir()
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    env = {
        **os.environ,
        "CGROUP": str(cgroup),
        "CHECKOUT": str(ROOT),
        "PACKAGES": packages,
        "PYTHON": os.path.realpath(sys.executable),
        "DROP_IN": DROP_IN,
    }
    process = subprocess.Popen(["sh", "-c", START], env=env, stdin=subprocess.DEVNULL)
    try:
        yield Machine(process)
    finally:
        process.kill()
        process.wait(30)
        remove(cgroup)


def remove(cgroup: Path) -> None:
    """Remove it once the last process in it has ended."""
    deadline = time.monotonic() + 30
    while cgroup.exists():
        assert time.monotonic() < deadline
        for path in sorted(cgroup.rglob("*/"), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
        with contextlib.suppress(OSError):
            cgroup.rmdir()
        time.sleep(0.05)


def fetch(machine: Machine, url: str) -> str:
    return machine.run("sh", "-c", f"curl -sS --max-time 20 {url} | sha256sum")


def serves_a_node_that_is_added(machine: Machine) -> None:
    """A commit of a node goes through the admin socket, SQL and the snapshot's file."""
    cli = (
        "env",
        "BOOTSERVE_STATE_DIR=/var/lib/bootserve",
        "PYTHONPATH=/opt/checkout:/opt/packages",
    )
    machine.run(
        *cli, "/opt/bootserve/bin/bootserve", "node", "add", "n1", "--mac", "02:00:00:00:00:01"
    )
    assert serves_the_node(machine)


def serves_the_node(machine: Machine) -> bool:
    script = machine.run("curl", "-sS", f"http://{BASE}:8080/boot/02-00-00-00-00-01.ipxe")
    return script.startswith("#!ipxe")


def test_the_unit_serves_in_its_sandbox(machine: Machine) -> None:
    pid = machine.wait_active()
    status = dict(
        line.split(":", 1) for line in machine.run("cat", f"/proc/{pid}/status").splitlines()
    )
    assert int(status["Uid"].split()[0]) >= 61184, "a dynamic user (systemd.exec(5))"
    assert [status[f"Cap{one}"].strip("\t0") for one in ("Prm", "Eff", "Inh", "Amb")] == [""] * 4
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    nbp = f"{machine.run('sha256sum', str(NBP)).split()[0]}  -"
    assert fetch(machine, f"tftp://{BASE}/{NBP.name}") == nbp
    assert fetch(machine, f"http://{BASE}:8080/nbp/{NBP.name}") == nbp
    serves_a_node_that_is_added(machine)
    machine.run("systemctl", "reload", "bootserve")
    assert machine.wait_active() == pid


def test_it_is_started_again_when_it_is_killed(machine: Machine) -> None:
    pid = machine.wait_active()
    serves_a_node_that_is_added(machine)
    machine.run("kill", "-KILL", str(pid))
    assert machine.wait_active(restarts=1) != pid
    assert serves_the_node(machine), "the node of before"
