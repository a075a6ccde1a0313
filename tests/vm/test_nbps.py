"""A UEFI machine loads the NBP that is pinned for it, and does once what it is to do once.

It also leaves iPXE when it is to boot from its disk, which on UEFI is the firmware's to do.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.pytest_plugin import VmFactory

from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.timeout(400)]

SNPONLY = Path("/usr/lib/ipxe/snponly.efi")
NAME = "a-name-as-long-as-a-name-of-an-nbp-can-be-iPXE.efi"
SCRIPT_SECONDS = 150.0
ONCE = """\
#!ipxe
echo THIS ONCE
:again
sleep 6
chain --autofree {url} ||
echo BACK FROM IT
goto again
"""


def test_a_pinned_nbp_a_script_for_one_boot_and_the_way_to_the_disk(
    lab: Lab, vm: VmFactory, tmp_path: Path
) -> None:
    site = Site(lab, lab.bootserve().start())
    site.admin.publish("web", "1")
    site.admin.call("PUT", "/roles/web", image="web")
    site.admin.call("POST", "/nodes", name="uefi", macs=[mac_for("uefi")], role="web")
    site.admin.call("PUT", "/pins", scope="site", generation="web@1")
    site.server.cli("nbp", "add", str(SNPONLY), "--arch", "x64", "--name", NAME)
    site.server.cli("nbp", "pin", "node/uefi", NAME, "-m", "a test")
    again = f"{site.server.url}/boot/{mac_for('uefi')}.ipxe"
    script = tmp_path / "once.ipxe"
    script.write_text(ONCE.format(url=again))
    site.server.cli("node", "set", "uefi", "--boot", "local")
    site.server.cli("node", "boot-once", "uefi", "script", str(script))
    node = vm("uefi", firmware="uefi", memory=512).start()
    node.expect("THIS ONCE", SCRIPT_SECONDS)
    # where this script had been iPXE's first, the firmware would be back, and boot the disk
    node.expect("bootserve: node uefi boots from its local disk", 60)
    node.expect("BACK FROM IT", 60)
    assert "there is no local disk" not in node.console.text
    site.server.cli("node", "set", "uefi", "--boot", "network")
    node.expect(r"bootserve: node uefi boots web@1 \(revision", 60)
    boot = site.last_boot("uefi")
    assert isinstance(boot["phases"], list)
    details = {one["phase"]: one["detail"] for one in boot["phases"]}
    digest = hashlib.sha256(SNPONLY.read_bytes()).hexdigest()
    assert details["tftp"].startswith(f"sha256/{digest}/{NAME}, {SNPONLY.stat().st_size} bytes")
    assert boot["ipxe"] == details["ipxe"]
    assert str(boot["ipxe"]).startswith("1.0.0: ")
    assert {"http", "efi"} <= set(str(boot["ipxe"]).split(": ")[1].split(", "))
    [once] = site.admin.call("GET", "/nodes/uefi/boot-once")["history"]
    assert (once["outcome"], once["mac"], once["boot"]) == ("consumed", mac_for("uefi"), "")
    site.server.stop()
