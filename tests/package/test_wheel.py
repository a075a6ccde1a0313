"""The wheel, installed where there is no checkout, serves a boot."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.pytest_plugin import VmFactory

from tests.support.api import Admin

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bootserve`` of a clean virtual environment that has the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    build: list[str | Path] = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder,
        ROOT,
    ]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    pins = re.findall(r"^(\S+==\S+) ", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n")
    environment = folder / "venv"
    subprocess.run(["/usr/bin/python3.11", "-m", "venv", environment], check=True)
    install: list[str | Path] = [environment / "bin/pip", "install", "-q", "-c", constraints, wheel]
    subprocess.run(install, check=True, capture_output=True, cwd=folder)
    return environment / "bin/bootserve"


def test_it_holds_what_it_needs_and_nothing_else(installed: Path) -> None:
    site = installed.parents[1] / "lib/python3.11/site-packages"
    assert len(list((site / "bootserve/data/ipxe_templates").glob("*.ipxe.j2"))) == 6
    assert (site / "bootserve/core/quirks.toml").is_file()
    assert (site / "bootserve/data/node/initramfs/init").exists()
    assert not (site / "scapy").exists()
    assert not (site / "tests").exists()


def test_it_serves_a_boot(lab: Lab, vm: VmFactory, installed: Path, tmp_path: Path) -> None:
    server = lab.bootserve(command=[os.fspath(installed)]).start()
    admin = Admin(server.state_dir)
    admin.publish("web", "1")
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("POST", "/nodes", name="node", macs=[mac_for("node")], role="compute")
    server.cli("pin", "site", "web@1", "-m", "from the wheel")
    node = vm("node", memory=256).start()
    node.expect(r"bootserve: node node boots web@1 \(revision 3\)", 60)
    # a few bytes are no kernel: that they were fetched is what is shown here
    wanted = {"dhcp", "ipxe", "script", "kernel", "initrd"}
    deadline = time.monotonic() + 60
    while (phases := seen(admin)) != wanted:
        assert time.monotonic() < deadline, phases
        time.sleep(0.2)


def seen(admin: Admin) -> set[str]:
    """Return the phases of the newest boot."""
    return {one["phase"] for one in admin.call("GET", "/boots")["boots"][0]["phases"]}
