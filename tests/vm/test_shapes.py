"""A firmware that gets no offer of the first shape comes up, and gets the other at once later."""

from __future__ import annotations

import json
import time

import pytest
from vm_harness.lab import Lab
from vm_harness.link import Link
from vm_harness.pump import Impairment
from vm_harness.pytest_plugin import VmFactory

from bootserve.build.bundle import Bundle
from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.timeout(700)]

SCRIPT_SECONDS = 240.0
MOUNTED_SECONDS = 180.0
"""From the script to the report that the root is mounted."""
WHOLE_FRAMES = ("-global", "virtio-net-pci.csum=off")
"""Has Linux compute its checksums itself: a :class:`Link` does not fill them in."""
# Options 43 and 67 of the first shape as they are on the wire: iPXE's offers have another 67.
PXE10 = "2b04060108ff 4308" + b"ipxe.efi".hex()


def details(log: str, event: str) -> list[str]:
    """The details of the log's lines about ``event``."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line.get("detail", "") for line in lines if line["event"] == event]


def test_a_uefi_that_never_sees_the_first_shape_comes_up_and_is_served_at_once_after_a_restart(
    lab: Lab, vm: VmFactory, demo_bundle: Bundle
) -> None:
    site = Site(lab, lab.bootserve().start())
    site.bring_in(demo_bundle)
    site.admin.call("PUT", "/pins", scope="site", generation="demo@1")
    site.add("odd")
    node = vm("odd", firmware="uefi", memory=1024, extra=WHOLE_FRAMES)
    with Link(lab.network.switch, node.taps[0], log=lab.directory / "link.log") as link:
        link.set(Impairment(contains=PXE10, towards="station"))
        node.start()
        node.expect(r"bootserve: node odd boots demo@1", SCRIPT_SECONDS)
        first = details(site.server.log_text(), "dhcp")
        assert first[0] == "offer nbp to pxe efi-x64"
        assert "ack binl to pxe efi-x64" in first
        assert link.set(Impairment(contains=PXE10, towards="station")).filtered >= 2
        [offer] = site.admin.call("GET", "/nodes/odd/explain")["offers"]
        assert (offer["shape"], offer["source"]) == ("binl", "learned")
        phases = {one.name for one in site.wait(node, "mounted", MOUNTED_SECONDS)}
        assert {"kernel", "initrd", "initramfs", "root", "verified", "mounted"} <= phases
        [boot] = site.admin.call("GET", "/boots?node=odd")["boots"]
        assert boot["generation"] == "demo@1"

        before = len(site.server.log_text())
        site.server.restart()
        node.power_cycle()
        deadline = time.monotonic() + SCRIPT_SECONDS
        while len(second := details(site.server.log_text()[before:], "dhcp")) < 2:
            assert time.monotonic() < deadline, second
            time.sleep(0.1)
        assert second[:2] == ["offer binl to pxe efi-x64", "ack binl to pxe efi-x64"]
        assert link.set(None).filtered == 0
        assert len(details(site.server.log_text(), "shape")) == 1
    site.server.stop()
