"""A real machine that goes round in circles is made to wait, and its console says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.pytest_plugin import VmFactory

from tests.vm.conftest import Site

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

SECONDS = 90.0
RESETS_ITSELF = "#!ipxe\necho boot {{ boot_id }} resets itself\nreboot\n"


def test_a_machine_that_resets_itself_waits(lab: Lab, vm: VmFactory, tmp_path: Path) -> None:
    (tmp_path / "node.ipxe.j2").write_text(RESETS_ITSELF)
    limits = ["--boots-per-node", "2", "--templates-dir", str(tmp_path)]
    site = Site(lab, lab.bootserve(arguments=limits).start())
    site.admin.publish("web", "1")
    site.admin.call("PUT", "/roles/web", image="web")
    site.admin.call("POST", "/nodes", name="round", macs=[mac_for("round")], role="web")
    site.admin.call("PUT", "/pins", scope="site", generation="web@1")
    node = vm("round", memory=256).start()
    reason = "its script was fetched 2 times within 5 minutes and no report came"
    # the rest of the reason is in the console's next line
    node.expect("bootserve: node round is in a loop: its script was fetched 2 times", SECONDS)
    assert len(site.admin.call("GET", "/boots?node=round")["boots"]) == 2
    assert reason in site.admin.call("GET", "/nodes/round/explain")["waits"]
    lines = [json.loads(line) for line in site.server.log_text().splitlines() if line[:1] == "{"]
    [logged] = [line for line in lines if line["event"] == "loop"]
    assert (logged["node"], logged["mac"], logged["detail"]) == ("round", mac_for("round"), reason)
    site.server.stop()


LOSES_ITS_CLASS = """#!ipxe
set user-class lost
:again
dhcp || goto again
isset ${filename} || goto again
iseq ${filename} undionly.kpxe && goto again ||
chain ${filename} || goto again
"""


def test_an_ipxe_whose_user_class_got_lost_is_told_to_wait(
    lab: Lab, vm: VmFactory, tmp_path: Path
) -> None:
    """It asks as a firmware does again and again, is offered its NBP, and then the script."""
    site = Site(lab, lab.bootserve(arguments=["--nbps-per-node", "2"]).start())
    site.add("lost")
    script = tmp_path / "lost.ipxe"
    script.write_text(LOSES_ITS_CLASS)
    site.server.cli("node", "boot-once", "lost", "script", str(script))
    node = vm("lost", memory=256).start()
    node.expect("bootserve: node lost is in a loop: it loaded its NBP 2 times", SECONDS)
    waits = site.admin.call("GET", "/nodes/lost/explain")["waits"]
    assert waits.startswith("it loaded its NBP 2 times within 5 minutes")
    assert "no NBP is offered" in site.server.log_text()
    site.server.stop()
