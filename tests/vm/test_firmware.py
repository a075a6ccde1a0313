"""Each firmware boots its pinned generation: to the mounted root, one of them to the end."""

from __future__ import annotations

import uuid

import pytest
from vm_harness.lab import Lab
from vm_harness.machine import Firmware
from vm_harness.pytest_plugin import VmFactory

from bootserve.build.bundle import Bundle
from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

MOUNTED_SECONDS = 180.0
UP_SECONDS = 300.0
FETCHED = {"script", "kernel", "initrd", "initramfs", "root", "verified", "mounted"}


@pytest.mark.parametrize(
    ("name", "firmware", "shape", "offers", "before"),
    [
        ("pxe10", "uefi", "pxe10", ["offer nbp"], {"dhcp", "tftp"}),
        ("binl", "uefi", "binl", ["offer binl", "ack binl"], {"dhcp", "tftp"}),
        ("http", "uefi-http", "pxe10", ["offer url"], {"dhcp"}),
    ],
)
def test_uefi_boots_its_pinned_generation(
    lab: Lab,
    vm: VmFactory,
    bundles: tuple[Bundle, Bundle],
    name: str,
    firmware: Firmware,
    shape: str,
    offers: list[str],
    before: set[str],
) -> None:
    site = Site(lab, lab.bootserve(arguments=["--uefi-shape", shape]).start())
    try:
        site.bring_in(bundles[0])
        site.add(name)
        site.admin.call("PUT", "/pins", scope="role/demo", generation="demo@1")
        node = vm(name, firmware=firmware).start()
        phases = {one.name for one in site.wait(node, "mounted", MOUNTED_SECONDS)}
        assert phases == before | FETCHED
        assert site.last_boot(name)["generation"] == "demo@1"
        log = site.server.log_text()
        for offer in [*offers, "offer script to ipxe efi-x64"]:
            assert f'"{offer}' in log
        assert lab.dhcp.gave_only_addresses()
    finally:
        site.server.stop()


def test_bios_nodes_come_up_as_themselves_and_the_same_again(
    lab: Lab, vm: VmFactory, bundles: tuple[Bundle, Bundle]
) -> None:
    site = Site(lab, lab.bootserve().start())
    try:
        site.bring_in(bundles[0])
        site.add("one", kernel_args="bootserve.test=1")
        site.add("two", rack="r1")
        site.admin.call("PUT", "/pins", scope="site", generation="demo@1")
        one, two = vm("one").start(), vm("two").start()
        root = bundles[0].manifest.artifacts["root"].sha256
        for node in (one, two):
            phases = {p.name for p in site.wait(node, "up", UP_SECONDS)}
            assert phases == FETCHED | {"dhcp", "up"}
            boot = site.last_boot(node.name)
            assert (boot["reported_generation"], boot["reported_root"]) == ("demo@1", root)
        ids = {node.name: node.run("cat /etc/machine-id").strip() for node in (one, two)}
        assert len(set(ids.values())) == 2
        for name, text in ids.items():
            assert uuid.UUID(text).version == 4, name
        assert one.run("hostname").strip() == "one"
        assert "bootserve.test=1" in one.run("cat /proc/cmdline")
        assert "bootserve.test" not in two.run("cat /proc/cmdline")
        one.run("echo x > /etc/changed; rm /usr/bin/top")
        two.kill()
        one.power_cycle()
        site.wait(one, "up", UP_SECONDS)
        assert one.run("cat /etc/machine-id").strip() == ids["one"]
        assert one.run("ls /etc/changed /usr/bin/top 2>/dev/null", check=False).split() == [
            "/usr/bin/top"
        ]
        leases = lab.dhcp.leases()
        ours = [lease for lease in leases if lease.mac in {one.mac, two.mac}]
        assert len(ours) == 2, leases
        assert len({lease.address for lease in ours}) == 2
    finally:
        site.server.stop()
