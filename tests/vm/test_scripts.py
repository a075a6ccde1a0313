"""The other scripts on a real iPXE: a stranger, a local disk, artifacts that do not come."""

from __future__ import annotations

from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.pytest_plugin import VmFactory

from bootserve import resources
from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

SCRIPT_SECONDS = 60.0


def test_a_stranger_is_held_registered_and_adopted(lab: Lab, vm: VmFactory) -> None:
    site = Site(lab, lab.bootserve(arguments=["--unknown", "register"]).start())
    stranger = vm("stranger", memory=256).start()
    stranger.expect("bootserve: this machine is not known", SCRIPT_SECONDS)
    stranger.expect(rf"bootserve: MAC +{stranger.mac}", 5)
    uuid = stranger.expect(r"bootserve: UUID +([0-9a-f-]{36})", 5)[1]
    stranger.expect("bootserve: asking again in 30 s", 5)
    [machine] = site.admin.call("GET", "/discovered")["machines"]
    assert (machine["mac"], machine["arch"], machine["uuid"]) == (stranger.mac, "bios", uuid)
    assert machine["vendor_class"].startswith("PXEClient:Arch:00000")
    site.admin.publish("web", "1")
    site.admin.call("PUT", "/roles/web", image="web")
    site.admin.call("PUT", "/pins", scope="site", generation="web@1")
    site.server.cli("node", "adopt", stranger.mac, "found", "--role", "web")
    assert site.admin.call("GET", "/discovered")["machines"] == []
    # it asks again by itself, and is a node now; by then iPXE has told its serial and model too
    stranger.expect("bootserve: node found boots web@1", 60)
    site.server.stop()


def test_under_policy_hold_a_stranger_is_told_and_not_recorded(lab: Lab, vm: VmFactory) -> None:
    site = Site(lab, lab.bootserve(arguments=["--unknown", "hold"]).start())
    stranger = vm("held", memory=256).start()
    stranger.expect(rf"bootserve: MAC +{stranger.mac}$", SCRIPT_SECONDS)
    stranger.expect(rf"bootserve: UUID +{stranger.machine.uuid}$", 5)
    stranger.expect("bootserve: serial held$", 5)
    stranger.expect("bootserve: add it with: bootserve node add NAME --mac", 5)
    assert site.admin.call("GET", "/discovered")["machines"] == []
    site.server.stop()


def _boot_sector(path: Path) -> Path:
    """Write a disk whose boot sector says THE LOCAL DISK on the first serial line and halts."""
    code = bytearray(b"\xfa\x31\xc0\x8e\xd8\xbe\x00\x7c")  # cli; ds = 0; si = text
    loop = len(code)
    code += b"\xac\x84\xc0\x74\x06"  # lodsb; test al, al; jz end
    code += b"\xba\xf8\x03\xee"  # mov dx, COM1; out dx, al
    code += b"\xeb" + (loop - len(code) - 2).to_bytes(1, "little", signed=True)
    code += b"\xf4\xeb\xfd"  # end: hlt; jmp end
    code[6:8] = (0x7C00 + len(code)).to_bytes(2, "little")
    code += b"\r\nTHE LOCAL DISK\r\n\0"
    path.write_bytes(bytes(code).ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    return path


def test_a_node_set_to_its_disk_boots_from_it(lab: Lab, vm: VmFactory, tmp_path: Path) -> None:
    site = Site(lab, lab.bootserve().start())
    site.admin.publish("web", "1")
    site.admin.call("PUT", "/roles/web", image="web")
    site.admin.call("POST", "/nodes", name="local", macs=[mac_for("local")], role="web")
    site.admin.call("PUT", "/pins", scope="site", generation="web@1")
    site.server.cli("node", "set", "local", "--boot", "local")
    disk = _boot_sector(tmp_path / "disk.raw")
    drive = f"file={disk},format=raw,if=virtio,id=local"
    node = vm("local", memory=256, extra=["-drive", drive]).start()
    node.expect("bootserve: node local boots from its local disk", SCRIPT_SECONDS)
    node.expect("THE LOCAL DISK", 30)
    assert site.admin.call("GET", "/boots")["boots"] == []
    site.server.stop()


def _with_short_pauses(folder: Path, *names: str) -> Path:
    """Write the shipped templates ``names`` to ``folder``, with 2 s in place of their pauses."""
    for name in names:
        text = (resources.templates() / f"{name}.ipxe.j2").read_text()
        assert "sleep {{ pause }}\n" in text
        (folder / f"{name}.ipxe.j2").write_text(text.replace("{{ pause }}", "2"))
    return folder


def test_what_cannot_be_booted_is_told_and_the_server_asked_again_though_it_was_away(
    lab: Lab, vm: VmFactory, tmp_path: Path
) -> None:
    templates = _with_short_pauses(tmp_path, "unresolvable", "local")
    site = Site(lab, lab.bootserve(arguments=["--templates-dir", str(templates)]).start())
    site.admin.publish("web", "1")
    site.admin.call("POST", "/nodes", name="stuck", macs=[mac_for("stuck")], image="web")
    site.server.cli("node", "boot-once", "stuck", "web@1")
    site.server.cli("node", "set", "stuck", "--arch", "arm64", "--boot", "local")
    node = vm("stuck", memory=256).start()
    stopped = "bootserve: node stuck is not booted, since what it shall boot cannot be had:"
    node.expect(stopped, SCRIPT_SECONDS)
    node.expect("boot once names web@1, built for amd64, and the node is arm64", 5)
    node.expect("'bootserve explain stuck' on the server; asking again in 2 s", 5)
    # then it is told to boot from its disk, and has none
    site.server.cli("node", "boot-once", "stuck", "--cancel")
    node.expect("bootserve: node stuck boots from its local disk", 60)
    no_disk = "bootserve: there is no local disk that boots, asking again in 2 s"
    node.expect(no_disk, 30)
    site.server.stop()
    for _ in range(2):
        node.expect(no_disk, 60)
    site.server.start()
    site.admin.publish("web", "2")
    site.server.cli("node", "set", "stuck", "--arch", "amd64", "--boot", "network")
    site.admin.call("PUT", "/pins", scope="site", generation="web@2")
    node.expect(r"bootserve: node stuck boots web@2 \(revision", 90)
    site.server.stop()


def test_after_five_failed_fetches_the_node_asks_for_its_script_again(
    lab: Lab, vm: VmFactory
) -> None:
    site = Site(lab, lab.bootserve().start())
    site.admin.publish("web", "1")
    site.admin.publish("web", "2")
    site.admin.call("PUT", "/roles/web", image="web")
    site.admin.call("POST", "/nodes", name="retry", macs=[mac_for("retry")], role="web")
    site.admin.call("PUT", "/pins", scope="site", generation="web@1")
    manifest = site.admin.call("GET", "/generations/web@1")["manifest"]
    next(site.server.state_dir.rglob(manifest["artifacts"]["kernel"]["sha256"])).unlink()
    node = vm("retry", memory=256).start()
    for attempt in range(1, 5):
        node.expect(f"bootserve: attempt {attempt} of 5 failed", SCRIPT_SECONDS)
    site.admin.call("PUT", "/pins", scope="site", generation="web@2")
    node.expect("bootserve: attempt 5 of 5 failed", SCRIPT_SECONDS)
    node.expect("bootserve: asking for the script again", 5)
    node.expect(r"bootserve: node retry boots web@2 \(revision", 90)
    boots = site.admin.call("GET", "/boots")["boots"]
    assert [boot["generation"] for boot in boots] == ["web@2", "web@1"]
    site.server.stop()
