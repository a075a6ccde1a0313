"""A node of the demo image comes up as itself, and after a cut of its power again.

``make test`` shows the same of a node that reboots (test_drift.py); firmwares: test_matrix.py.
"""

from __future__ import annotations

import pytest
from vm_harness.lab import Lab
from vm_harness.pytest_plugin import VmFactory

from bootserve.build.bundle import Bundle
from tests.vm.coming_up import Expected, machine_ids
from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.matrix, pytest.mark.timeout(600)]

UP_SECONDS = 300.0


def test_a_bios_node_comes_up_as_itself_and_the_same_again(
    lab: Lab, vm: VmFactory, bundles: tuple[Bundle, Bundle]
) -> None:
    site = Site(lab, lab.bootserve().start())
    site.bring_in(bundles[0])
    site.add("one", kernel_args="bootserve.test=1")
    site.add("two")
    site.admin.call("PUT", "/pins", scope="site", generation="demo@1")
    machine_id = machine_ids(site, "one", "two")["one"]
    itself = Expected(site, bundles[0], machine_id, "bootserve.test=1")
    one = vm("one").start()
    for change in ("echo x > /etc/changed; rm /usr/bin/top", "true"):
        site.wait(one, "up", UP_SECONDS)
        itself.check(one)
        left = one.run("ls /etc/changed /usr/bin/top 2>/dev/null", check=False).split()
        assert left == ["/usr/bin/top"]
        one.run(change)
        if change != "true":
            assert one.run("cat /etc/changed").strip() == "x"
            one.power_cycle()
    site.server.stop()
