"""A flood of strangers: memory and log stay bounded, and known nodes go on booting meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.net import Namespace
from vm_harness.pytest_plugin import VmFactory
from vm_harness.server import BootServer

from tests.flood.storm import ADDRESSES, DISCOVERS, SLOW
from tests.support.api import Admin
from tests.support.curl import curl

pytestmark = [pytest.mark.netns, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ROOT_BYTES = bytes(8 << 20)
MAC = "02:00:00:44:00:60"
MEMORY = 160 << 20
"""Bytes (PSS of all processes) that the server has at most in a flood."""
LINES = 150
"""Lines that the log grows by at most: some 20 a minute of each kind, and the known node's own."""


@pytest.fixture(scope="module")
def stranger(lab: Lab) -> Namespace:
    client = lab.client("storm", "10.44.0.50")
    for address in ADDRESSES:
        client.ip("address", "add", f"{address}/24", "dev", "eth1")
    return client


@pytest.fixture(scope="module")
def known(lab: Lab) -> Namespace:
    client = lab.client("known", "10.44.0.60")
    client.ip("link", "set", "eth1", "address", MAC)
    return client


@contextlib.contextmanager
def serving(lab: Lab, policy: str, folder: Path) -> Iterator[tuple[BootServer, Admin, str]]:
    """A server with two known nodes, and the path of an artifact of 8 MiB."""
    server = lab.bootserve(state_dir=folder / "state", arguments=["--unknown", policy])
    server.start(timeout=60)
    try:
        yield server, *prepared(Admin(server.state_dir))
    finally:
        server.stop()


def prepared(admin: Admin) -> tuple[Admin, str]:
    admin.publish("web", "1", root=ROOT_BYTES)
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("POST", "/nodes", name="n1", macs=[MAC], role="compute")
    admin.call("POST", "/nodes", name="n2", macs=[mac_for("n2")], role="compute")
    admin.call("PUT", "/pins", scope="site", generation="web@1")
    return admin, f"/artifacts/sha256/{hashlib.sha256(ROOT_BYTES).hexdigest()}"


@contextlib.contextmanager
def flood(lab: Lab, stranger: Namespace, artifact: str) -> Iterator[list[int]]:
    """A flood for the time of the block; what it yields holds the DISCOVERs sent afterwards.

    No slow reader may have been cut off by then.
    """
    server_mac = lab.network.server.run(["cat", "/sys/class/net/eth1/address"]).strip()
    argv = [sys.executable, "-m", "tests.flood.storm", server_mac, artifact]
    sent: list[int] = []
    with subprocess.Popen(
        stranger.command(argv),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as storm:
        try:
            assert storm.stdout is not None
            assert storm.stdout.readline() == "all\n"
            yield sent
            count, readers = storm.communicate("\n", timeout=60)[0].split()
            assert int(readers) == SLOW
            sent.append(int(count))
        finally:
            storm.kill()


def memory(server: BootServer) -> int:
    """Return the PSS of the server's processes in bytes."""
    main = server.process.pid
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    total = 0
    for pid in (main, *children):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total


def seen(admin: Admin, prefix: str) -> int:
    """Return how many events whose kind starts with ``prefix`` the metrics count."""
    head = f'bootserve_events_total{{event="{prefix}'
    lines = admin.raw("GET", "/metrics")[1].decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith(head)))


def dropped(lab: Lab) -> int:
    """Return how many datagrams to port 67 the kernel had no room for."""
    lines = lab.network.server.run(["cat", "/proc/net/udp"]).splitlines()[1:]
    return sum(int(line.split()[-1]) for line in lines if line.split()[1].endswith(":0043"))


def counted(lab: Lab, admin: Admin, sent: int) -> int:
    """Return how many DHCP events more than ``sent`` were counted, once all are read."""
    deadline = time.monotonic() + 60
    while (more := seen(admin, "dhcp ") + dropped(lab) - sent) < 0:
        assert time.monotonic() < deadline, more
        time.sleep(0.2)
    return more


def lines_of(text: str) -> Counter[str]:
    """Count the log's lines by event, those of the flood alone."""
    lines = text.splitlines()
    assert [line for line in lines if line[:1] != "{"] == [], "what is no line of the log"
    return Counter(json.loads(line)["event"] for line in lines)


@pytest.mark.parametrize("policy", ["hold", "register"])
def test_a_flood_under(
    lab: Lab, stranger: Namespace, known: Namespace, tmp_path: Path, policy: str
) -> None:
    with serving(lab, policy, tmp_path) as (server, admin, artifact):
        before, written = memory(server), len(server.log_text())
        with flood(lab, stranger, artifact) as sent:
            script = curl(known, f"/boot/{MAC.replace(':', '-')}.ipxe").text
            assert "bootserve.generation=web@1" in script
            after = memory(server)
        print(f"{policy}: {before >> 20} MiB, in the flood {after >> 20} MiB")
        assert after < MEMORY
        assert sent[0] >= DISCOVERS
        assert counted(lab, admin, sent[0]) == 0
        assert seen(admin, "tftp ") > 0
        found = admin.call("GET", "/status")["discovered"]
        assert found == (1000 if policy == "register" else 0)
    lines = lines_of(server.log_text()[written:])
    print(lines)
    assert lines.total() < LINES, lines


@pytest.mark.vm
def test_a_machine_boots_in_a_flood_under_ignore(
    lab: Lab, stranger: Namespace, vm: VmFactory, tmp_path: Path
) -> None:
    with serving(lab, "ignore", tmp_path) as (server, admin, artifact):
        before, written = memory(server), len(server.log_text())
        with flood(lab, stranger, artifact) as sent:
            vm("n2", memory=256).start().expect(r"bootserve: node n2 boots web@1", 240)
            after = memory(server)
        print(f"ignore: {before >> 20} MiB, in the flood {after >> 20} MiB")
        assert after < MEMORY
        assert sent[0] >= DISCOVERS
        assert counted(lab, admin, sent[0]) < 20, "what the machine sent"
    lines = lines_of(server.log_text()[written:])
    print(lines)
    assert lines.total() < LINES, lines
