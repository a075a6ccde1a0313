"""Nodes of the demo image in a lab: two generations, built once for the whole run."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.phases import BootPhases, SeenPhase
from vm_harness.server import BootServer, admin_socket
from vm_harness.vm import Vm

from bootserve.build.bundle import Bundle, read_bundle
from bootserve.build.image import build_image, default_cache_dir
from tests.support.api import Admin

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Two generations of the demo image, which differ by one file; shared by parallel workers."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "vm-bundles"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _built(shared, "1"), _built(shared, "2")


def _built(shared: Path, number: str) -> Bundle:
    output = shared / f"demo-{number}"
    if not output.exists():
        definition = shared / f"definition-{number}"
        shutil.copytree(ROOT / "images/demo", definition, symlinks=True)
        mark = definition / "files/etc/demo-generation"
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(f"{number}\n")
        build_image(definition, output=output, cache_dir=default_cache_dir())
    return read_bundle(output)


class Site:
    """A server with the demo's generations, and what its nodes do."""

    def __init__(self, lab: Lab, server: BootServer) -> None:
        self.lab = lab
        self.server = server
        self.admin = Admin(server.state_dir)

    def bring_in(self, *bundles: Bundle) -> None:
        """Import bundles as demo@1, demo@2, …"""
        for bundle in bundles:
            self.server.cli("image", "import", str(bundle.path), timeout=120)
        self.admin.call("PUT", "/roles/demo", image="demo")

    def add(self, name: str, **fields: object) -> None:
        self.admin.call("POST", "/nodes", name=name, macs=[mac_for(name)], role="demo", **fields)

    def wait(
        self,
        vm: Vm,
        phase: str,
        timeout: float,
        each: Callable[[SeenPhase], None] = lambda _phase: None,
    ) -> list[SeenPhase]:
        """Wait for the server to see ``phase`` of the node; return all phases up to it."""
        source = BootPhases(admin_socket(self.server.state_dir), vm.name, vm.started_at)
        deadline = time.monotonic() + timeout
        seen: list[SeenPhase] = []
        while phase not in {one.name for one in seen}:
            assert time.monotonic() < deadline, f"no {phase}; seen: {[p.name for p in seen]}"
            assert vm.running
            for one in source.poll():
                seen.append(one)
                each(one)
            time.sleep(0.05)
        return seen

    def last_boot(self, name: str) -> dict[str, object]:
        boots: list[dict[str, object]] = self.admin.call("GET", f"/boots?node={name}")["boots"]
        return boots[0]
