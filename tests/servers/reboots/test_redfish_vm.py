"""A BMC that resets a real VM: asked for by the command line, through a real server."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from vm_harness.lab import Lab

from bootserve.core.minting import RETRY_SECONDS
from tests.support.api import Admin
from tests.support.bmc import Bmc, credentials
from tests.support.curl import curl

MAC = "52:54:00:0b:00:01"
PORT = 8443  # in the namespace of the server alone


def settings(folder: Path, bmc: Bmc) -> Path:
    path = folder / "bootserve.toml"
    path.write_text(
        f"redfish_credentials = '{credentials(folder)}'\nredfish_ca_file = '{bmc.cert}'\n"
    )
    return path


def boots(admin: Admin) -> list[str]:
    return [one["id"] for one in admin.call("GET", "/boots?node=n1")["boots"]]


def wait_for_boot(admin: Admin, known: int) -> str:
    deadline = time.monotonic() + 120
    while len(found := boots(admin)) <= known:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found[0]


@pytest.mark.vm
def test_a_bmc_resets_a_vm_which_boots_again(
    lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    vm = lab.vm("n1", mac=MAC, memory=256, extra=["-qmp", "unix:bmc.sock,server=on,wait=off"])
    system = {"name": "n1", "qmp": str(vm.directory / "bmc.sock")}
    bmc = Bmc(tmp_path / "bmc", system, within=lab.network.server, port=PORT)
    request.addfinalizer(bmc.stop)
    server = lab.bootserve(arguments=["--config", str(settings(tmp_path, bmc))]).start()
    admin = Admin(server.state_dir)
    admin.publish("web", "1")
    admin.call("PUT", "/roles/compute", image="web")
    admin.call("PUT", "/pins", scope="site", generation="web@1")
    node = {"name": "n1", "macs": [MAC], "role": "compute", "labels": {"bmc": bmc.url}}
    admin.call("POST", "/nodes", **node)
    vm.start()
    first = wait_for_boot(admin, 0)
    time.sleep(RETRY_SECONDS + 1)  # sooner, the script is taken for a retry of the same boot
    argv = [sys.executable, "-m", "bootserve", "reboot", "n1", "--state-dir"]
    command = subprocess.Popen(
        [*argv, str(server.state_dir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    second = wait_for_boot(admin, 1)
    assert second != first
    assert bmc.resets() == ["GracefulRestart"]
    vm.kill()
    client = lab.client("reporter")  # the VM's images are a few bytes each: its word is given here
    auth = ["-X", "POST", "-H", f"Authorization: Bearer {'a' * 64}"]
    assert curl(client, f"/report/{second}?phase=up&generation=web@1", *auth).status == 202
    out, err = command.communicate(timeout=120)
    assert command.returncode == 0, err
    assert re.fullmatch(r"n1 is rebooted and up, in \d+ s \(its BMC asked it to restart\)\.\n", out)
    assert "n1: its BMC is asked to restart it\n" in err
    assert err.endswith("n1: it is up\n")
