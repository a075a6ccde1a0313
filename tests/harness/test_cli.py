"""The command ``vm-harness``, as a user types it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from vm_harness.lab import Lab, mac_for
from vm_harness.net import list_namespaces
from vm_harness.pytest_plugin import VmFactory

pytestmark = pytest.mark.vm


def _harness(*words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vm_harness", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def lab_id() -> Iterator[str]:
    """A lab with bootserve that ``up`` left standing."""
    up = _harness("up")
    match = re.match(r"lab (\w+): ", up.stdout)
    assert match, up.stderr
    yield match[1]
    _harness("down", match[1])


def _status(lab_id: str) -> dict[str, Any]:
    """Return what ``status`` says of one lab; there may be others on this machine."""
    labs: list[dict[str, Any]] = json.loads(_harness("status", "--json").stdout)["labs"]
    return next(lab for lab in labs if lab["id"] == lab_id)


def test_up_boot_status_stop_down(lab_id: str) -> None:
    lab = _status(lab_id)
    assert lab["owner"] is None
    assert not lab["stale"]
    # bootserve, its process that serves TFTP, and the one that sends files
    assert len(lab["namespaces"][f"vmh-{lab_id}-server"]) == 3
    serve = [*lab["bootserve"], "--state-dir", lab["state_dir"]]
    subprocess.run([*serve, "node", "add", "n1", "--mac", "52:54:00:00:77:01"], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip

    booted = _harness(
        "boot", "n1", "--lab", lab_id, "--memory", "256", "--until", "script", "--timeout", "60"
    )
    assert booted.returncode == 0, booted.stderr
    assert booted.stdout.startswith("n1: 52:54:00:00:77:01, bios, 256 MiB, ")
    assert re.search(r"^ +\d+\.\d\d s  ipxe +console  iPXE 1", booted.stdout, re.MULTILINE)
    assert re.search(r"^ +\d+\.\d\d s  script ", booted.stdout, re.MULTILINE)

    again = _harness("boot", "n1", "--lab", lab_id)
    assert again.returncode == 1
    assert again.stderr == "vm-harness: n1 is running already: vm-harness stop n1\n"

    assert "VM n1: 52:54:00:00:77:01, bios, on" in _harness("status").stdout
    assert [vm["name"] for vm in _status(lab_id)["vms"]] == ["n1"]
    inside = _harness("exec", "--lab", lab_id, "server", "--", "ip", "-br", "address")
    assert "10.44.0.2/24" in inside.stdout
    assert _harness("stop", "n1", "--lab", lab_id).stdout == "n1 is off\n"
    assert _status(lab_id)["vms"] == []

    down = _harness("down", lab_id)
    assert down.stdout == f"lab {lab_id} is down\n"
    assert list_namespaces(f"vmh-{lab_id}") == []


def test_a_node_boots_by_uefi(lab_id: str) -> None:
    lab, mac = _status(lab_id), "52:54:00:00:77:02"
    serve = [*lab["bootserve"], "--state-dir", lab["state_dir"]]
    subprocess.run([*serve, "node", "add", "n2", "--mac", mac], check=True, capture_output=True)
    words = ["boot", "n2", "--lab", lab_id, "--firmware", "uefi", "--memory", "256"]
    booted = _harness(*words, "--until", "script", "--timeout", "120", timeout=180)
    assert booted.returncode == 0, booted.stderr
    assert booted.stdout.startswith(f"n2: {mac}, uefi, 256 MiB, ")
    assert re.search(r"^ +\d+\.\d\d s  pxe +console  >>Start PXE", booted.stdout, re.MULTILINE)
    assert re.search(r"^ +\d+\.\d\d s  script ", booted.stdout, re.MULTILINE)
    assert f"VM n2: {mac}, uefi, on" in _harness("status").stdout


def test_an_unknown_machine_boots_and_is_left_alone(lab_id: str) -> None:
    booted = _harness("boot", "stranger", "--lab", lab_id, "--memory", "256", "--console")
    assert booted.returncode == 0, booted.stderr
    assert "stranger boots as a machine unknown to bootserve" in booted.stderr
    assert mac_for("stranger") in booted.stdout
    assert re.search(r"\d+\.\d\d s  no-boot ", booted.stdout)
    assert "SeaBIOS (version" in booted.stdout  # the console, as asked
    assert "bootserve: " not in booted.stdout


def test_a_terminal_is_joined_to_a_console(lab: Lab, vm: VmFactory) -> None:
    node = vm("n1", memory=256).start()
    node.expect("Press Ctrl-B for the iPXE command line", 30)
    node.send("\x02")
    node.expect("iPXE> ", 10)
    node.detach()
    master, slave = pty.openpty()
    joined = subprocess.Popen(
        [sys.executable, "-m", "vm_harness", "console", "n1", "--lab", lab.id],
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    shown = b""
    os.write(master, b"show net0/mac\r")  # what is typed too early waits
    while b"= 52:54" not in shown and select.select([master], [], [], 20)[0]:
        shown += os.read(master, 65536)
    os.write(master, b"\x1d")
    try:
        assert joined.wait(20) == 0
    finally:
        joined.kill()
        os.close(slave)
        os.close(master)
    assert b"= 52:54" in shown
    assert node.running


def test_a_boot_that_does_not_get_there_in_time_fails(lab_id: str) -> None:
    booted = _harness("boot", "n2", "--lab", lab_id, "--memory", "64", "--timeout", "1")
    assert booted.returncode == 1
    assert "vm-harness: n2: no " in booted.stderr
    assert "within 1 s" in booted.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["boot", "n1", "--lab", "00000000"], "there is no lab '00000000'"),
        (["boot", "n1", "--lab", "../etc"], "there is no lab"),
        (["down", "nonsense"], "not a lab's id"),
        (["up", "--bootserve", "/nonexistent/bootserve"], "bootserve ended with"),
    ],
)
def test_mistakes_are_one_line(words: list[str], says: str) -> None:
    command = [sys.executable, "-m", "vm_harness", *words]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _, error = done.communicate(timeout=60)
    assert done.returncode == 1
    assert error.startswith("vm-harness: ")
    assert says in error
    assert "Traceback" not in error
    assert list_namespaces(f"vmh-{done.pid:06x}") == []
