"""DHCP, TFTP, HTTP and reports of one start are one timeline, also when two boots overlap."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import tftpy
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from bootserve.wire.dhcp import DhcpPacket
from tests.cli.runner import Cli
from tests.support.api import Admin
from tests.support.curl import curl
from tests.support.dhcp import answered
from tests.support.netns import inside

MAC, OTHER = "02:00:00:44:00:50", "02:00:00:44:00:51"
SECOND = "10.44.0.51"
IPXE = {77: b"iPXE", 175: bytes.fromhex("130101 180101 270101 eb03011501")}
ROOT = b"a root " * 400_000
BEARER = ["-H", f"Authorization: Bearer {'a' * 64}", "--data-binary", ""]


@pytest.fixture(scope="module")
def cli(server: BootServer) -> Cli:
    return Cli(server.state_dir)


@pytest.fixture(scope="module", autouse=True)
def nodes(admin: Admin, client: Namespace) -> None:
    client.ip("link", "set", "eth1", "address", MAC)
    client.ip("address", "add", f"{SECOND}/24", "dev", "eth1")
    admin.publish("web", "1", ROOT)
    admin.publish("web", "2", ROOT)
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("POST", "/nodes", name="here", macs=[MAC, OTHER], role="compute")
    admin.call("PUT", "/pins", scope="site", generation="web@1")


def dhcp(client: Namespace, xid: int, options: dict[int, bytes], mac: str = MAC) -> str:
    """Broadcast a DISCOVER and return the boot file that is offered."""
    usual = {53: b"\1", 60: b"PXEClient:Arch:00000", 93: b"\0\0", 97: bytes(17)}
    chaddr = bytes.fromhex(mac.replace(":", ""))
    packet = DhcpPacket(op=1, xid=xid, chaddr=chaddr, flags=0x8000, options=usual | options)
    return answered(client, packet, lambda one: one.options.get(67, b""), 5.0).decode()


def start(client: Namespace, folder: Path, xid: int) -> dict[str, Any]:
    """One start of the machine up to its script; return what the script names."""
    with inside(client.name):
        tftpy.TftpClient("10.44.0.2", 69).download(dhcp(client, xid, {}), str(folder / "nbp"))
    time.sleep(0.5)  # no machine asks sooner once it has its NBP
    script = curl(client, re.sub("^http://[^/]+", "", dhcp(client, xid + 1, IPXE))).text
    return {
        "boot": re.findall(r"bootserve\.boot=(\S+)", script)[0],
        "files": re.findall(r"/artifacts/sha256/[0-9a-f]{64}", script),
        "root": "/artifacts/sha256/" + re.findall(r"bootserve\.root=(\S+)", script)[0],
    }


def timeline(cli: Cli, boot: str) -> Any:
    found = cli.json("boots", "here", "--timeline")["boots"]
    return next(one for one in found if one["id"] == boot)


def names(boot: Any) -> list[str]:
    return [phase["phase"] for phase in boot["phases"]]


def test_one_start_is_one_timeline(client: Namespace, cli: Cli, tmp_path: Path) -> None:
    begun = time.time()
    made = start(client, tmp_path, 100)
    for path in [*made["files"], made["root"]]:
        assert curl(client, path).status == 200
    for phase in ("initramfs", "up"):
        assert curl(client, f"/report/{made['boot']}?phase={phase}", *BEARER).status == 202
    found = timeline(cli, made["boot"])
    assert names(found) == [
        *("dhcp", "tftp", "ipxe", "script"),
        *("kernel", "initrd", "root", "initramfs", "up"),
    ]
    seconds = [phase["seconds"] for phase in found["phases"]]
    assert seconds[0] == 0.0
    assert seconds == sorted(seconds)
    assert begun <= found["started_at"] <= time.time()
    details = {phase["phase"]: phase["detail"] for phase in found["phases"]}
    assert details["dhcp"] == "offer nbp to pxe bios"
    assert details["tftp"].startswith("undionly.kpxe, ")
    assert details["ipxe"] == found["ipxe"] == "1.21.1: http, bzimage, menu"
    assert cli.json("node", "show", "here")["ipxe"] == found["ipxe"]
    printed = cli("boots", "here", "--timeline").out
    assert re.search(r"^ +0\.00  dhcp +offer nbp to pxe bios$", printed, re.M)
    assert re.search(r"^ +\d+\.\d\d  ipxe +1\.21\.1: http, bzimage, menu$", printed, re.M)


def test_a_machine_that_starts_over_has_two_timelines(
    client: Namespace, admin: Admin, cli: Cli, tmp_path: Path
) -> None:
    admin.call("PUT", "/pins", scope="site", generation="web@2")  # or this were a retry
    first = start(client, tmp_path, 200)
    log = (tmp_path / "slow").open("wb")
    url = f"http://10.44.0.2:8080{first['root']}"
    into = tmp_path / "root"
    slow = client.spawn(["curl", "-sN", "-o", str(into), "--limit-rate", "700k", url], log=log)
    deadline = time.monotonic() + 60
    while not (into.exists() and into.stat().st_size):  # until its fetch has begun
        assert time.monotonic() < deadline
        time.sleep(0.01)
    admin.call("PUT", "/pins", scope="site", generation="web@1")
    second = start(client, tmp_path, 300)
    assert curl(client, second["files"][0]).status == 200
    assert curl(client, f"/report/{first['boot']}?phase=failed", *BEARER).status == 202
    assert slow.wait(60) == 0
    log.close()
    old, new = timeline(cli, first["boot"]), timeline(cli, second["boot"])
    assert sorted(names(old)) == sorted(["dhcp", "tftp", "ipxe", "script", "root", "failed"])
    assert names(new) == ["dhcp", "tftp", "ipxe", "script", "kernel"]
    assert new["started_at"] > old["started_at"]
    assert new["started_at"] >= old["phases"][3]["at"]


def test_two_nics_that_boot_at_once_have_a_timeline_each(
    client: Namespace, admin: Admin, cli: Cli
) -> None:
    admin.call("PUT", "/pins", scope="site", generation="web@2")
    time.sleep(2.1)  # offers of one kind to one NIC within a second or two are taken for one
    offers = [dhcp(client, 500 + n, IPXE, mac) for n, mac in enumerate((MAC, OTHER))]
    scripts = [
        curl(client, re.sub("^http://[^/]+", "", offer), "--interface", address).text
        for offer, address in zip(offers, ("10.44.0.50", SECOND), strict=True)
    ]
    boots = [re.findall(r"bootserve\.boot=(\S+)", script)[0] for script in scripts]
    kernel = re.findall(r"/artifacts/sha256/[0-9a-f]{64}", scripts[0])[0]
    assert curl(client, kernel, "--interface", SECOND).status == 200
    one, other = (timeline(cli, boot) for boot in boots)
    assert (names(one), names(other)) == (
        ["dhcp", "ipxe", "script"],
        ["dhcp", "ipxe", "script", "kernel"],
    )
    assert (one["mac"], other["mac"]) == (MAC, OTHER)
