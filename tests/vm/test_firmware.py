"""One firmware boots its pinned generation to the end; the others are in test_matrix.py."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from vm_harness.lab import Lab
from vm_harness.pytest_plugin import VmFactory

from bootserve.build.bundle import Bundle
from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

UP_SECONDS = 300.0
LOGGED = ["script", "kernel", "initrd", "initramfs", "root", "verified", "mounted", "up"]


def logged(site: Site, boot: object) -> Counter[str]:
    """Return how many lines of the server's log are about each phase of ``boot``."""
    lines = [json.loads(line) for line in site.server.log_text().splitlines()]
    return Counter(line["event"] for line in lines if line.get("boot") == boot)


def test_a_bios_node_comes_up_as_itself_and_the_same_again(
    lab: Lab, vm: VmFactory, bundles: tuple[Bundle, Bundle]
) -> None:
    site = Site(lab, lab.bootserve().start())
    site.bring_in(bundles[0])
    site.add("one", kernel_args="bootserve.test=1")
    site.add("two")
    site.admin.call("PUT", "/pins", scope="site", generation="demo@1")
    scripts = {
        name: site.admin.call("GET", f"/nodes/{name}/explain")["script"] for name in ("one", "two")
    }
    ids = {name: text.split("systemd.machine_id=")[1].split()[0] for name, text in scripts.items()}
    assert len(set(ids.values())) == 2
    root = bundles[0].manifest.artifacts["root"].sha256
    one = vm("one").start()
    for change in ("echo x > /etc/changed; rm /usr/bin/top", "true"):
        phases = {p.name for p in site.wait(one, "up", UP_SECONDS)}
        assert phases == {*LOGGED, "dhcp", "ipxe"}
        boot = site.last_boot("one")
        assert logged(site, boot["id"]) == Counter(LOGGED)
        assert (boot["reported_generation"], boot["reported_root"]) == ("demo@1", root)
        assert one.run("cat /etc/machine-id").strip() == ids["one"]
        assert one.run("hostname").strip() == "one"
        assert "bootserve.test=1" in one.run("cat /proc/cmdline")
        left = one.run("ls /etc/changed /usr/bin/top 2>/dev/null", check=False).split()
        assert left == ["/usr/bin/top"]
        one.run(change)
        if change != "true":
            assert one.run("cat /etc/changed").strip() == "x"
            one.power_cycle()
    leases = [lease for lease in lab.dhcp.leases() if lease.mac == one.mac]
    assert len(leases) == 1
    site.server.stop()
