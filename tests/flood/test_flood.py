"""A flood of strangers: memory and log stay bounded, and known nodes go on booting meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.net import Namespace
from vm_harness.pytest_plugin import VmFactory
from vm_harness.server import BootServer

from bootserve.build.bundle import Bundle
from tests.flood.pest import STUBBORN
from tests.flood.storm import DISCOVERS, HALF_OPEN, IDLE, SLOW
from tests.support.api import Admin
from tests.support.curl import curl
from tests.vm.conftest import Site

pytestmark = [pytest.mark.netns, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ROOT_BYTES = random.Random(44).randbytes(8 << 20)
MAC = "02:00:00:44:00:60"
MEMORY = 160 << 20
"""Bytes (PSS of all processes) that the server has at most in a flood."""
MOUNTED_SECONDS = 300.0
"""Seconds from power-on to the mounted root in a flood (57 to 88 on a busy machine)."""
LINES = 240
"""Lines that the log grows by at most in a minute: some 20 of each kind, and the nodes' own."""


@pytest.fixture(scope="module")
def stranger(lab: Lab) -> Namespace:
    """A machine that sends from each address of 10.45.0.0/16."""
    client = lab.client("storm", "10.44.0.50")
    client.ip("route", "add", "local", "10.45.0.0/16", "dev", "lo")
    lab.network.server.ip("route", "add", "10.45.0.0/16", "via", "10.44.0.50")
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
def flood(lab: Lab, stranger: Namespace, artifact: str) -> Iterator[Counter[str]]:
    """A flood for the time of the block; what it yields holds afterwards what was sent."""
    server_mac = lab.network.server.run(["cat", "/sys/class/net/eth1/address"]).strip()
    argv = [sys.executable, "-m", "tests.flood.storm", server_mac, artifact, MAC]
    made: Counter[str] = Counter()
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
            yield made
            made.update(json.loads(storm.communicate("\n", timeout=60)[0]))
        finally:
            storm.kill()


class Peak:
    """The greatest memory that a server has while the block runs, looked at all the time."""

    def __init__(self, server: BootServer) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.looks: list[int] = []

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.looks.append(memory(self._server))


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
    """Return how many DHCP messages more than ``sent`` were counted, once all are read."""
    return at_least(
        lambda: seen(admin, "dhcp ") - seen(admin, "dhcp no usable offers") + dropped(lab) - sent,
        0,
    )


def at_least(count: Callable[[], int], least: int) -> int:
    """Return what ``count`` returns once that is ``least`` or more."""
    deadline = time.monotonic() + 60
    while (found := count()) < least:
        assert time.monotonic() < deadline, (found, least)
        time.sleep(0.2)
    return found


def assert_whole(known: Namespace, script: str) -> None:
    """Fetch what ``script`` names, each to its end: all of it is what its name says."""
    digests = re.findall(r"/artifacts/sha256/([0-9a-f]{64})", script)
    assert len({*digests}) == 2, "the kernel and the initrd"
    digests += re.findall(r"bootserve\.root=([0-9a-f]{64})", script)
    for digest in digests:
        answer = curl(known, f"/artifacts/sha256/{digest}")
        assert (answer.status, hashlib.sha256(answer.body).hexdigest()) == (200, digest)
    assert hashlib.sha256(ROOT_BYTES).hexdigest() in digests


def open_files(server: BootServer) -> int:
    """Return how many files the server has open, most of which are connections."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def lines_of(text: str) -> Counter[str]:
    """Count the log's lines by event, those of the flood alone."""
    lines = text.splitlines()
    assert [line for line in lines if line[:1] != "{"] == [], "what is no line of the log"
    return Counter(json.loads(line)["event"] for line in lines)


@pytest.mark.vm
@pytest.mark.parametrize(
    ("policy", "firmware"), [("ignore", "bios"), ("hold", "uefi"), ("register", "bios")]
)
def test_a_machine_boots_in_a_flood_under(
    lab: Lab,
    stranger: Namespace,
    known: Namespace,
    vm: VmFactory,
    tmp_path: Path,
    tell: Callable[[str], None],
    policy: str,
    firmware: str,
) -> None:
    with serving(lab, policy, tmp_path) as (server, admin, artifact):
        files, written = open_files(server), len(server.log_text())
        began = time.monotonic()
        with Peak(server) as peak, flood(lab, stranger, artifact) as made:
            machine = vm("n2", firmware=firmware, memory=256).start()
            at_least(lambda: open_files(server) - files, IDLE + SLOW)
            script = curl(known, f"/boot/{MAC.replace(':', '-')}.ipxe").text
            assert "bootserve.generation=web@1" in script
            fetching = time.monotonic()
            assert_whole(known, script)
            tell(f"all artifacts in {time.monotonic() - fetching:.2f} s")
            machine.expect(r"bootserve: node n2 boots web@1", 240)
            if policy != "ignore":
                at_least(lambda: seen(admin, "dhcp no usable offers"), STUBBORN)
        tell(f"{max(peak.looks) >> 20} MiB at most of {len(peak.looks)} looks")
        assert max(peak.looks) < MEMORY
        assert made["discovers"] >= DISCOVERS
        assert (made["half_open"], made["readers"]) == (HALF_OPEN, SLOW)
        assert counted(lab, admin, made["discovers"]) < 40, "what the machine sent"
        at_least(lambda: seen(admin, "tftp "), HALF_OPEN)
        assert seen(admin, "tftp completed") > 30
        found = admin.call("GET", "/status")["discovered"]
        assert found == (1000 if policy == "register" else 0)
        minutes = 1 + int((time.monotonic() - began) / 60)
    lines = lines_of(server.log_text()[written:])
    tell(f"lines of the log: {dict(lines)}")
    assert lines.total() < LINES * minutes, lines
    assert lines["internal"] == 0, "what no stranger may cause"


@pytest.mark.vm
@pytest.mark.matrix
def test_a_machine_boots_to_its_mounted_root_in_a_flood(
    lab: Lab, stranger: Namespace, vm: VmFactory, tmp_path: Path, demo_bundle: Bundle
) -> None:
    with serving(lab, "register", tmp_path) as (server, admin, artifact):
        site = Site(lab, server)
        site.bring_in(demo_bundle)
        site.add("n3")
        admin.call("PUT", "/pins", scope="site", generation="demo@1")
        node = vm("n3", firmware="uefi", memory=512)  # which loads its NBP by TFTP
        with flood(lab, stranger, artifact) as made:
            phases = site.wait(node.start(), "mounted", MOUNTED_SECONDS)
        print(*phases, sep="\n")
        assert made["discovers"] >= DISCOVERS
        assert (made["half_open"], made["readers"]) == (HALF_OPEN, SLOW)
        [boot] = admin.call("GET", "/boots?node=n3")["boots"]
        assert boot["generation"] == "demo@1"
