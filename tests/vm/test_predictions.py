"""What ``bootserve probe`` says a firmware will do is what that firmware does."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.machine import Firmware as Hardware
from vm_harness.net import end_processes

from bootserve.core.disguise import discover
from bootserve.core.firmware import Choice, Firmware, Step, judge
from bootserve.probe.segment import Segment
from tests.support.api import Admin
from tests.support.dnsmasq import dnsmasq
from tests.support.netns import inside

pytestmark = [pytest.mark.matrix, pytest.mark.vm]

CLASS = "--dhcp-option-force=60,PXEClient"
PXE10 = "--dhcp-option-force=vendor:PXEClient,6,8"
CASES: dict[str, tuple[str, ...]] = {
    "addresses only": (),
    "a boot file": ("--dhcp-boot=own.efi",),
    "option 60 and no 43": (CLASS,),
    "PXE options and a boot file": (CLASS, PXE10, "--dhcp-boot=own.efi"),
}
SEEN = re.compile(
    r"> (?P<tftp>[\d.]+)\.69: .*RRQ \"(?P<name>[^\"]+)\""
    r"|\.(?:68|4011) > (?P<binl>[\d.]+)\.4011: "
    r"|HTTP: GET (?P<path>/boot/\S+) "
)


@pytest.fixture(scope="module")
def admin(lab: Lab) -> Admin:
    end_processes([lab.network.dhcp])
    lab.dhcp.wait()
    return Admin(lab.bootserve().start().state_dir)


def predicted(lab: Lab, name: str, firmware: Firmware, loader: Firmware | None) -> Choice:
    """Return what the judgement says of the offers that come now."""
    packet = discover(firmware, mac_for(name), 7, ipxe_on=loader)
    with inside(lab.network.namespace("client").name):
        offers = Segment("eth1").ask(packet, 3).offers
    return judge(firmware, offers).choices[0]


def seen(capture: Path, deadline: float) -> re.Match[str]:
    """Return the first thing that the firmware asked for."""
    while time.monotonic() < deadline:
        shown = subprocess.run(["tcpdump", "-nr", capture], capture_output=True, text=True)
        if found := SEEN.search(shown.stdout):
            return found
        time.sleep(1)
    raise AssertionError("the firmware asked for nothing")


@pytest.mark.parametrize("hardware", ["bios", "uefi"])
@pytest.mark.parametrize("case", CASES)
def test_a_prediction_comes_true(
    lab: Lab, admin: Admin, tmp_path: Path, case: str, hardware: Hardware
) -> None:
    name = re.sub(r"\W", "-", f"{hardware} {case}").lower()
    admin.call("POST", "/nodes", name=name, macs=[mac_for(name)])
    if not lab.network.namespace("client").exists:
        lab.client("client")
    # QEMU's BIOS has an iPXE in the NIC's ROM, which asks as iPXE from the start.
    firmware, loader = (
        (Firmware.IPXE, Firmware.BIOS) if hardware == "bios" else (Firmware.UEFI, None)
    )
    with dnsmasq(lab.network.dhcp, *CASES[case]):
        choice = predicted(lab, name, firmware, loader)
        with lab.capture(tmp_path / "seen.pcap"):
            vm = lab.vm(name, firmware=hardware, memory=256)
            vm.start()
            found = seen(tmp_path / "seen.pcap", time.monotonic() + 150)
            vm.close()
    if choice.step is Step.ASK:
        assert found["binl"] == choice.server
    elif "://" in choice.file:
        assert found["path"]
        assert choice.file.endswith(found["path"])
    else:
        assert (found["tftp"], found["name"]) == (choice.server, choice.file)
