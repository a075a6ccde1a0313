"""A pin that changes between script and root: the node boots the one that its script named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from vm_harness.lab import Lab
from vm_harness.phases import SeenPhase
from vm_harness.pytest_plugin import VmFactory

from bootserve.build.bundle import Bundle, artifact_of, write_bundle
from bootserve.build.cpio import CpioArchive
from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.timeout(400)]


def _with_another_kernel_and_initrd(bundle: Bundle, folder: Path) -> Bundle:
    """Return ``bundle`` with a longer kernel and initrd, which boot as well."""
    added = CpioArchive()
    added.file("etc/another", b"initrd\n")
    files = {name: bundle.artifact(name) for name in bundle.manifest.artifacts}
    for name, more in (("kernel", bytes(4096)), ("initrd", added.to_bytes())):
        longer = folder / name
        longer.write_bytes(files[name].read_bytes() + more)
        files[name] = longer
    artifacts = {name: artifact_of(file) for name, file in files.items()}
    manifest = bundle.manifest.model_copy(update={"artifacts": artifacts})
    return write_bundle(folder / "bundle", manifest, files, link=True)


def _digests(bundle: Bundle) -> dict[str, str]:
    found = bundle.manifest.artifacts
    return {name: found[name].sha256 for name in ("kernel", "initrd", "root")}


def test_a_pin_that_changes_at_every_step_mixes_nothing(
    lab: Lab, vm: VmFactory, bundles: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    other = _with_another_kernel_and_initrd(bundles[1], tmp_path)
    first, second = _digests(bundles[0]), _digests(other)
    assert not set(first.values()) & set(second.values())
    site = Site(lab, lab.bootserve().start())
    site.bring_in(bundles[0], other)
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
    node.expect(f"bootserve: the root is the pinned one: sha256 {first['root']}", 10)
    # what iPXE fetched stands on the console, broken at its 80th column
    console = node.console.text.replace("\n", "")
    fetched = re.findall(r"/artifacts/sha256/([0-9a-f]{64})", console)
    assert set(fetched) == {first["kernel"], first["initrd"]}
    assert not [digest for digest in second.values() if digest in console]
    site.server.stop()
