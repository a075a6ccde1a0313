"""The lab and bootserve together: each firmware reaches its script.

The image here is of files that no machine could run: what is under test ends with their download.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.phases import BootPhases, ConsolePhases, PhaseSource, follow
from vm_harness.pytest_plugin import VmFactory
from vm_harness.server import BootServer, admin_socket
from vm_harness.timing import SCRIPT

from bootserve.model.generation import Artifact, Manifest
from bootserve.model.names import Arch

pytestmark = pytest.mark.vm

FILES = {"kernel": b"no kernel" * 20_000, "initrd": b"no initrd", "root": b"hsqs".ljust(4096)}


def _bundle(folder: Path) -> Path:
    """Write a bundle of FILES, which is a generation like any other to the server."""
    (folder / "sha256").mkdir()
    artifacts = {}
    for name, data in FILES.items():
        digest = hashlib.sha256(data).hexdigest()
        (folder / "sha256" / digest).write_bytes(data)
        artifacts[name] = Artifact(sha256=digest, size=len(data))
    manifest = Manifest(image="broken", arch=Arch.AMD64, artifacts=artifacts)
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return folder


@pytest.fixture(scope="module")
def server(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> BootServer:
    bundle = _bundle(tmp_path_factory.mktemp("bundle"))
    server = lab.bootserve().start()
    server.cli("image", "import", str(bundle))
    server.cli("role", "set", "worker", "--image", "broken")
    for name in ("bios-1", "uefi-1"):
        server.cli("node", "add", name, "--mac", mac_for(name), "--role", "worker")
    server.cli("node", "add", "idle", "--mac", mac_for("idle"), "--role", "other", "-m", "no pin")
    server.cli("pin", "site", "broken@1", "-m", "to see it fetched")
    return server


@pytest.mark.parametrize(("name", "firmware"), [("bios-1", "bios"), ("uefi-1", "uefi")])
def test_a_node_fetches_what_its_script_names(
    server: BootServer, vm: VmFactory, name: str, firmware: str
) -> None:
    node = vm(name, firmware=firmware, memory=512).start()
    sources: list[PhaseSource] = [
        ConsolePhases(node),
        BootPhases(admin_socket(server.state_dir), name, node.started_at),
    ]
    seen = list(follow(node, sources, until=["kernel"], timeout=2 * SCRIPT[firmware]))
    recorded = {phase.name: phase for phase in seen if phase.source == "server"}
    assert {"dhcp", "script", "kernel"} <= recorded.keys()
    assert ("tftp" in recorded) is (firmware == "uefi")  # BIOS has iPXE in its ROM
    times = [phase.after for phase in recorded.values()]
    assert times == sorted(times)
    assert 0 < recorded["script"].after < SCRIPT[firmware]
    said = next(phase for phase in seen if phase.name == "script" and phase.source == "console")
    assert said.detail == f"bootserve: node {name} boots broken@1 (revision 5)"


def test_damage_on_the_wire_reaches_the_firmware(
    lab: Lab, server: BootServer, vm: VmFactory
) -> None:
    node = vm("bios-1", memory=512).start()
    damage = lab.corrupt_http(r"^/artifacts/", offset=1000, damage="cut", times=1)
    node.expect(r"bootserve: fetching the kernel", SCRIPT["bios"])
    done = damage.wait_damage(timeout=30)
    assert done["path"].startswith("/artifacts/sha256/")
    node.expect(r"attempt 1 of \d+ failed", 60)
    node.expect(r"bootserve: fetching the kernel", 60)
    damage.off()


def test_uefi_over_http_reaches_its_script(server: BootServer, vm: VmFactory) -> None:
    node = vm("uefi-1", firmware="uefi-http", memory=512).start()
    node.expect("bootserve: node uefi-1 boots broken@1", 2 * SCRIPT["uefi-http"])
    assert "HTTP" in node.console.text


def test_phases_of_a_server_that_is_away_are_none(tmp_path: Path) -> None:
    assert BootPhases(tmp_path / "admin.sock", "n1", 0.0).poll() == []
