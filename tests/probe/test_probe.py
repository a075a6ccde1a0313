"""``bootserve probe`` on a segment with real servers, each with a fault of its own."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.net import Namespace, end_processes
from vm_harness.server import BootServer

from bootserve.core.firmware import Firmware
from bootserve.model.finding import Finding, Level, worst
from bootserve.probe.report import ProbeReport, Question
from bootserve.probe.run import probe
from bootserve.wire.dhcp import build, parse
from tests.cli.runner import run, run_program
from tests.support.api import Admin
from tests.support.dnsmasq import dnsmasq
from tests.support.netns import inside
from tests.support.public import in_public

pytestmark = pytest.mark.netns

MAC = "52:54:00:44:07:01"
ROOT = b"hsqs" + bytes(range(256)) * 700
NBPS = Path("/usr/lib/ipxe")
CLASS = "--dhcp-option-force=60,PXEClient"


@pytest.fixture(scope="module")
def nbp_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nbps")
    shutil.copy(NBPS / "snponly.efi", folder / "ipxe.efi")  # the smaller
    shutil.copy(NBPS / "undionly.kpxe", folder / "undionly.kpxe")
    return folder


@pytest.fixture(scope="module")
def server(lab: Lab, nbp_dir: Path) -> BootServer:
    end_processes([lab.network.dhcp])
    lab.dhcp.wait()
    return lab.bootserve(arguments=["--nbp-dir", str(nbp_dir)]).start()


@pytest.fixture(scope="module")
def admin(server: BootServer) -> Admin:
    admin = Admin(server.state_dir)
    admin.publish("web", "1", ROOT, cmdline="quiet")
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("POST", "/nodes", name="n1", macs=[MAC], role="compute")
    admin.call("PUT", "/pins", scope="site", generation="web@1")
    return admin


@pytest.fixture(scope="module")
def client(lab: Lab, admin: Admin) -> Namespace:
    return lab.client("client")


@pytest.fixture(scope="module")
def other(lab: Lab) -> Namespace:
    return lab.network.join("other", "10.44.0.5/24")


@pytest.fixture
def main(lab: Lab, server: BootServer) -> Namespace:
    """Where the DHCP server that was there before runs."""
    return lab.network.dhcp


def look(
    client: Namespace, offers: list[int], firmware: Firmware = Firmware.UEFI, **fields: Any
) -> ProbeReport:
    """Probe until each stage has as many offers as it should; a busy machine is slow to give."""
    asked = {"interface": "eth1", "mac": MAC, **fields}
    with inside(client.name):
        for seconds in (0.25, 2.0, 8.0):
            report = probe(Question(**asked, firmware=firmware, seconds=seconds), lambda _: None)
            if [len(stage.offers) for stage in report.stages] == offers:
                break
    return report


def finding(report: ProbeReport, subject: str, words: str) -> Finding:
    """Return the one finding on ``subject`` that says ``words``."""
    fitting = [one for one in report.findings if one.subject == subject and words in one.found]
    assert len(fitting) == 1, [f"{one.subject}: {one.found}" for one in report.findings]
    return fitting[0]


@pytest.mark.parametrize(
    ("firmware", "nbp"),
    [
        (Firmware.UEFI, "ipxe.efi, "),
        (Firmware.BIOS, "undionly.kpxe, "),
        (Firmware.HTTP, "http://10.44.0.2:8080/nbp/ipxe.efi, "),
    ],
)
def test_a_healthy_segment(
    client: Namespace, main: Namespace, admin: Admin, firmware: Firmware, nbp: str
) -> None:
    with dnsmasq(main) as leases:
        report = look(client, [2, 2], firmware, full=True)
        assert not leases.exists() or leases.read_text() == ""
    assert worst(report.findings) is Level.OK, report.findings
    assert finding(report, "NBP", nbp).found.startswith(nbp)
    finding(report, "script", "boots web@1")
    for name in ("kernel", "initrd", "root"):
        finding(report, name, "its digest is right")
    assert admin.call("GET", "/boots")["boots"] == []


def test_the_program_says_it_for_people_and_for_programs(
    client: Namespace, main: Namespace, admin: Admin
) -> None:
    words = ("probe", "-i", "eth1", "--mac", MAC, "--firmware", "ipxe", "--wait", "1")
    with dnsmasq(main) as leases:
        plain = run_program(*words, within=client.command([]))
        assert plain.code == 0, plain
        with inside(client.name):
            document = run(*words, "--json").json
        assert not leases.exists() or leases.read_text() == ""
    for said in ("proxyDHCP server  ", "DHCP server  ", "next server (siaddr)", "lease (51)"):
        assert said in plain.out
    assert "5 ok, 0 warnings, 0 errors" in plain.out
    assert "asking as iPXE, for 1 s" in plain.err
    roles = {one["role"]: one["server"] for one in document["stages"][0]["answers"]}
    assert roles == {"DHCP server": "10.44.0.1", "proxyDHCP server": "10.44.0.2"}
    assert document["stages"][0]["loads"].endswith("/boot/52-54-00-44-07-01.ipxe")
    assert {one["level"] for one in document["findings"]} == {"ok"}
    assert admin.call("GET", "/boots")["boots"] == []


def test_a_node_that_is_served_in_the_other_shape(
    client: Namespace, main: Namespace, admin: Admin
) -> None:
    admin.call("PATCH", "/nodes/n1", shape="binl")
    with dnsmasq(main):
        report = look(client, [2, 2])
    admin.call("PATCH", "/nodes/n1", shape="auto")
    assert worst(report.findings) is Level.OK, report.findings
    finding(report, "boot", "asks 10.44.0.2 for a boot file on port 4011 (BINL)")
    finding(report, "boot", "10.44.0.2 answers on port 4011")
    finding(report, "NBP", "ipxe.efi, ")


# --- faults of other servers -------------------------------------------------------------------


def test_a_main_server_with_option_60_and_no_43(client: Namespace, main: Namespace) -> None:
    with dnsmasq(main, CLASS):
        report = look(client, [2])
    found = finding(report, "boot", "asks 10.44.0.1 on port 4011, whatever 10.44.0.2 offers")
    assert (found.level, found.action) == (
        Level.ERROR,
        "Remove option 60 from the DHCP server 10.44.0.1.",
    )
    assert finding(report, "boot", "10.44.0.1 does not answer on port 4011").level is Level.ERROR


def test_a_main_server_that_sends_its_own_boot_file(
    client: Namespace, main: Namespace, tmp_path: Path
) -> None:
    shutil.copy(NBPS / "undionly.kpxe", tmp_path / "own.efi")
    pxe10 = "--dhcp-option-force=vendor:PXEClient,6,8"
    with dnsmasq(
        main, CLASS, pxe10, "--dhcp-boot=own.efi", "--enable-tftp", f"--tftp-root={tmp_path}"
    ):
        report = look(client, [2, 2])
    words = "two servers answer as PXE, 10.44.0.2 and 10.44.0.1; EDK2 prefers 10.44.0.1"
    assert finding(report, "boot", words).level is Level.WARNING
    found = finding(report, "NBP", "iPXE for bios; the firmware needs efi-x64")
    assert found.level is Level.ERROR
    assert worst(report.findings) is Level.ERROR


def test_a_second_proxy(client: Namespace, main: Namespace, other: Namespace) -> None:
    service = ("--pxe-service=X86-64_EFI,x,other.efi", "--pxe-prompt=x,0")
    with dnsmasq(main), dnsmasq(other, *service, proxy=True):
        report = look(client, [3, 3])
    words = "10.44.0.5 answers as PXE too, without PXE options (43): EDK2 prefers 10.44.0.2"
    assert finding(report, "boot", words).level is Level.WARNING


def test_no_dhcp_server(client: Namespace, main: Namespace) -> None:
    report = look(client, [1])
    found = finding(report, "addresses", "no DHCP server gives an address; 10.44.0.2 only adds")
    assert found.level is Level.ERROR


def test_a_main_server_that_switches_proxies_off_for_ipxe(
    client: Namespace, main: Namespace
) -> None:
    with dnsmasq(main, "--dhcp-option-force=encap:175,176,1b"):
        report = look(client, [2, 2])
    found = finding(report, "boot", "tells iPXE to listen to no proxy (option 175.176)")
    assert found.level is Level.ERROR


@contextmanager
def odd_server(namespace: Namespace) -> Iterator[None]:
    """Answer each DISCOVER with what no client can read, no client takes, and no client asked."""
    with inside(namespace.name):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1")
    sock.bind(("", 67))
    sock.settimeout(0.05)
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            try:
                asked = parse(sock.recv(4096))
            except TimeoutError:
                continue
            reply = replace(asked, op=2, options={53: b"\2"})
            other = replace(reply, xid=asked.xid ^ 1)
            cut = build(reply)[:240] + b"\x35\x09\x02"  # an option that overruns the packet
            for data in (build(reply), build(other), cut):
                sock.sendto(data, ("255.255.255.255", 68))

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    done.set()
    thread.join()
    sock.close()


def test_a_server_that_sends_nonsense(client: Namespace, main: Namespace, other: Namespace) -> None:
    with dnsmasq(main), odd_server(other):
        report = look(client, [3, 3])
    drops = [one for one in report.findings if "it lacks option 54 (server)" in one.found]
    assert [one.found.split(":")[0] for one in drops] == ["EDK2 drops the offer of 10.44.0.5"]
    unread = [
        one for one in report.findings if "10.44.0.5 sent what no client can read" in one.found
    ]
    assert len(unread) == 2
    assert "overruns the space it is in" in unread[0].found
    finding(report, "script", "boots web@1")


# --- faults of bootserve -----------------------------------------------------------------------


def test_a_mac_that_is_no_nodes(client: Namespace, main: Namespace) -> None:
    with dnsmasq(main):
        report = look(client, [1], mac="52:54:00:44:07:99")
    found = finding(report, "boot", "nobody offers a boot program that EDK2 can use")
    assert found.level is Level.ERROR
    assert "is this MAC a node's?" in found.action


def test_an_nbp_that_is_offered_and_not_there(
    client: Namespace, main: Namespace, nbp_dir: Path
) -> None:
    (nbp_dir / "ipxe.efi").rename(nbp_dir / "away")
    time.sleep(1.1)  # the server looks for a file of TFTP once a second
    try:
        with dnsmasq(main):
            by_tftp = look(client, [2, 2])
            by_http = look(client, [2, 2], Firmware.HTTP)
    finally:
        (nbp_dir / "away").rename(nbp_dir / "ipxe.efi")
    assert finding(by_tftp, "NBP", "10.44.0.2 has no file 'ipxe.efi'").level is Level.ERROR
    assert finding(by_http, "NBP", "the server answers 404").level is Level.ERROR


def test_artifacts_that_are_damaged_or_gone(
    client: Namespace, main: Namespace, admin: Admin, server: BootServer
) -> None:
    generation = admin.call("GET", "/generations/web@1")
    digests = {name: one["sha256"] for name, one in generation["manifest"]["artifacts"].items()}
    files = {
        name: server.state_dir / "artifacts" / "sha256" / digest[:2] / digest
        for name, digest in digests.items()
    }
    kept = {name: file.read_bytes() for name, file in files.items()}
    files["kernel"].write_bytes(kept["kernel"][:-1] + b"?")
    files["initrd"].unlink()
    files["root"].write_bytes(b"\0" * len(ROOT))
    with dnsmasq(main):
        report = look(client, [2, 2])
    for name, data in kept.items():
        files[name].write_bytes(data)
    assert finding(report, "kernel", "what came has the sha256 ").level is Level.ERROR
    assert finding(report, "initrd", "the server answers 404").level is Level.ERROR
    assert finding(report, "root", "it begins like no squashfs and no erofs").level is Level.ERROR


def test_a_node_without_a_pin_is_said_to_hold(
    client: Namespace, main: Namespace, admin: Admin
) -> None:
    admin.call("DELETE", "/pins?scope=site&image=web")
    with dnsmasq(main):
        report = look(client, [2, 2])
    admin.call("PUT", "/pins", scope="site", generation="web@1")
    assert finding(report, "script", "boots no generation: node n1 ").level is Level.WARNING


# --- faults of the machine that probes -----------------------------------------------------------


def test_a_server_on_the_machine_that_probes(client: Namespace, main: Namespace) -> None:
    with dnsmasq(main):
        report = look(main, [1])
    found = finding(report, "this machine", "serves DHCP on this machine and cannot hear")
    assert found.found.startswith("dnsmasq (pid ")


def test_an_interface_without_an_address_or_that_is_down(lab: Lab, main: Namespace) -> None:
    bare = lab.client("bare", "")
    with dnsmasq(main):
        report = look(bare, [2, 2])
    assert finding(report, "this machine", "it has no address on eth1").level is Level.WARNING
    bare.ip("link", "set", "eth1", "down")
    with inside(bare.name):
        result = run("probe", "-i", "eth1", "--mac", MAC)
    assert (result.code, result.out) == (1, "")
    assert "bootserve: interface eth1 is down\nSet it up: ip link set eth1 up.\n" in result.err


def test_what_it_needs_is_said(client: Namespace) -> None:
    with inside(client.name):
        result = run("probe", "-i", "eth9", "--mac", MAC)
    assert (result.code, result.err.splitlines()[-1]) == (1, "There are: lo, eth1.")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all")
    within = client.command([*in_public(), *nobody])
    result = run_program("probe", "-i", "eth1", "--mac", MAC, within=within)
    assert result.code == 1
    assert "bootserve: this user may not send frames on eth1" in result.err
