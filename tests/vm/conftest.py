"""Nodes of the demo image in a lab: two generations, built once for the whole run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.phases import BootPhases, SeenPhase
from vm_harness.server import BootServer, admin_socket
from vm_harness.vm import Vm

from bootserve.build.bundle import Bundle
from tests.support.api import Admin
from tests.support.bundles import built_once


@pytest.fixture(scope="session")
def bundles(demo_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Two generations of the demo image: it, and it with one file more."""
    return demo_bundle, built_once(tmp_path_factory, "demo-2", _mark)


def _mark(definition: Path) -> None:
    mark = definition / "files/etc/demo-generation"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("2\n")


@pytest.fixture(scope="session")
def generic_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo image with the kernel for real hardware, which has more drivers."""
    return built_once(tmp_path_factory, "demo-generic", _with_generic_kernel)


def _with_generic_kernel(definition: Path) -> None:
    settings = definition / "image.toml"
    text = settings.read_text()
    assert 'kernel = "cloud"' in text
    settings.write_text(text.replace('kernel = "cloud"', 'kernel = "generic"'))


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
        # Linux tries its timer for some ticks and panics without them, which an emulated machine
        # on a busy one comes to; a virtual one of KVM's leaves that out by itself.
        self.admin.call("PUT", "/roles/demo", image="demo", kernel_args="no_timer_check")

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
