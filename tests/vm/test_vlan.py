"""A node on a VLAN: bootserve serves on a tagged interface, in a VM, whose kernel has 802.1Q."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from vm_harness.lab import Lab
from vm_harness.pytest_plugin import VmFactory
from vm_harness.timing import SCRIPT, UP
from vm_harness.vm import Vm

from bootserve.build.bundle import Bundle
from tests.support.bundles import ROOT, built_once
from tests.vm.conftest import Site
from tests.vm.matrix import CELLS, Cell

pytestmark = [pytest.mark.vm, pytest.mark.matrix, pytest.mark.timeout(1200)]

VID = 100
VLAN = f"eth0.{VID}"
SERVER = "10.44.2.9"
VLAN_CELLS = [cell for cell in CELLS if cell.path == "VLAN"]
MOUNTED_SECONDS = 360.0
READY_SECONDS = 600.0
"""An emulated CPU takes a minute to start what a real one starts in a second."""


@pytest.fixture(scope="module")
def server_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo image with a Python: what a server's VM runs."""
    return built_once(tmp_path_factory, "demo-python", _with_python)


def _with_python(definition: Path) -> None:
    settings = definition / "image.toml"
    text = settings.read_text()
    assert 'packages = ["dbus", ' in text
    settings.write_text(text.replace('packages = ["dbus", ', 'packages = ["dbus", "python3", '))


@pytest.fixture(scope="module")
def disk(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, bundles: tuple[Bundle, Bundle]
) -> Path:
    """A disk with bootserve's wheel installed, NBPs, and the state of a server that knows nodes."""
    folder = tmp_path_factory.mktemp("vlan")
    content = folder / "content"
    _install(folder, content / "site")
    shutil.copytree("/usr/lib/ipxe", content / "nbps", ignore=shutil.ignore_patterns("*.iso"))
    site = Site(lab, lab.bootserve(state_dir=content / "state").start())
    site.bring_in(bundles[0])
    site.admin.call("PUT", "/pins", scope="site", generation="demo@1")
    for cell in VLAN_CELLS:
        site.add(_node(cell))
    site.server.stop()
    image = folder / "disk.squashfs"
    pack = ["mksquashfs", str(content), str(image), "-quiet", "-no-progress", "-comp", "lz4"]
    subprocess.run(pack, check=True, capture_output=True)
    return image


def _install(folder: Path, site: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    pins = re.findall(r"^(\S+==\S+) ", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    (folder / "constraints").write_text("\n".join(pins) + "\n")
    pip = [sys.executable, "-m", "pip", "install", "-q", "-c", str(folder / "constraints")]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True, capture_output=True)


def _node(cell: Cell) -> str:
    return f"node-{cell.firmware}"


@pytest.fixture(scope="module")
def server(lab: Lab, server_bundle: Bundle, disk: Path) -> Vm:
    """A VM on the lab's first network, untagged, in which bootserve serves on the VLAN."""
    lab.add_vlan(VID)
    site = Site(lab, lab.bootserve().start())
    site.bring_in(server_bundle)
    site.add("server")
    site.admin.call("PUT", "/pins", scope="site", generation="demo@1")
    drive = f"file={disk},format=raw,if=virtio,readonly=on"
    vm = lab.vm("server", memory=1536, extra=["-drive", drive]).start()
    site.wait(vm, "up", 2 * UP)
    site.server.stop()  # from here on the only server is the one in the VM
    vm.run("mount -t squashfs /dev/vda /mnt; cp -a /mnt/state /run/state", timeout=120)
    vm.run("systemctl stop systemd-networkd.socket systemd-networkd.service")
    vm.run(f"ip link add link $(ls /sys/class/net | grep -v lo) name {VLAN} type vlan id {VID}")
    vm.run(f"ip address add {SERVER}/24 dev {VLAN}; ip link set {VLAN} up")
    _serve(vm)
    return vm


def _serve(vm: Vm) -> None:
    words = f"--interface {VLAN} --state-dir /run/state --nbp-dir /mnt/nbps --log-format json"
    command = f"PYTHONPATH=/mnt/site python3 -m bootserve serve {words}"
    vm.run(f"({command} >/run/serve.log 2>&1 &)")
    deadline = time.monotonic() + READY_SECONDS
    while not any(one["event"] == "ready" for one in _log(vm)):
        assert time.monotonic() < deadline, vm.run("cat /run/serve.log")
        time.sleep(3)


def _log(vm: Vm) -> list[dict[str, str]]:
    lines = vm.run("cat /run/serve.log").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize("cell", VLAN_CELLS, ids=lambda cell: cell.name)
def test_whole(lab: Lab, server: Vm, vm: VmFactory, cell: Cell) -> None:
    name = _node(cell)
    node = vm(name, firmware=cell.firmware, segment=lab.segments[-1]).start()
    # the server's CPU is emulated too, and has the node's beside it
    node.expect(cell.marker.replace("node node", f"node {name}"), 6 * SCRIPT[cell.firmware])
    node.expect("bootserve: the root is the pinned one", MOUNTED_SECONDS)
    assert f"http://{SERVER}:8080" in node.console_log.read_bytes().decode(errors="replace")
    events = [one for one in _log(server) if one.get("node") == name]
    offered = [one["detail"] for one in events if one["event"] == "dhcp"]
    assert list(dict.fromkeys(offered)) == list(cell.offers)
    [script] = [one for one in events if one["event"] == "script"]
    assert (script["mac"], script["generation"]) == (node.mac, "demo@1")
    assert script["address"].startswith("10.44.2.")
