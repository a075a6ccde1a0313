"""A pin that changes between script and root: the node boots the one that its script named."""

from __future__ import annotations

import pytest
from vm_harness.lab import Lab
from vm_harness.phases import SeenPhase
from vm_harness.pytest_plugin import VmFactory

from bootserve.build.bundle import Bundle
from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.timeout(400)]


def test_a_pin_that_changes_at_every_step_mixes_nothing(
    lab: Lab, vm: VmFactory, bundles: tuple[Bundle, Bundle]
) -> None:
    site = Site(lab, lab.bootserve().start())
    site.bring_in(*bundles)
    site.add("node")
    site.admin.call("PUT", "/pins", scope="site", generation="demo@1")
    changes: list[str] = []

    def change(phase: SeenPhase) -> None:
        if phase.name in ("script", "kernel", "initrd", "initramfs", "root", "verified"):
            number = 2 if len(changes) % 2 == 0 else 1
            site.admin.call("PUT", "/pins", scope="site", generation=f"demo@{number}")
            changes.append(phase.name)

    node = vm("node").start()
    site.wait(node, "mounted", 300, change)
    assert {"script", "kernel", "initrd", "initramfs", "root"} <= set(changes)
    boots = site.admin.call("GET", "/boots?node=node")["boots"]
    assert len(boots) == 1
    [boot] = boots
    assert boot["generation"] == "demo@1"
    root = bundles[0].manifest.artifacts["root"].sha256
    node.expect(f"bootserve: the root is the pinned one: sha256 {root}", 10)
    site.server.stop()
