"""Labs go up, stand beside each other, and go down without a trace, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from vm_harness import registry
from vm_harness.errors import HarnessError
from vm_harness.lab import Lab
from vm_harness.net import Namespace, end_processes, list_namespaces
from vm_harness.registry import LabState, namespace_prefix

pytestmark = pytest.mark.netns


def _traces(lab_id: str) -> list[str]:
    """Return everything on this machine that still carries the lab's id."""
    found = [namespace.name for namespace in list_namespaces(namespace_prefix(lab_id))]
    if registry.BASE.exists():
        found += [path.name for path in registry.BASE.iterdir() if lab_id in path.name]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        if lab_id.encode() in words and f"/{os.getpid()}/" not in str(entry):
            found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found


def _wait_until_gone(lab_id: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while _traces(lab_id) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _traces(lab_id) == []


def _links() -> set[str]:
    return {entry.name for entry in Path("/sys/class/net").iterdir()}


def test_up_and_down_leave_nothing_and_touch_nothing_outside() -> None:
    before = _links()
    with Lab.create() as lab:
        assert len(_traces(lab.id)) >= 5  # three namespaces, the directory, processes
        assert _links() == before
        assert lab.network.dhcp.pids()
    assert _traces(lab.id) == []
    assert _links() == before
    lab.down()  # a second time is harmless


def test_every_interface_name_fits() -> None:
    with Lab.create() as lab:
        lab.network.add_tap()
        lab.client("twelve-chars")
        with pytest.raises(HarnessError, match="at most 12"):
            lab.client("thirteen-char")
        names = lab.network.switch.ip("-o", "link").splitlines()
        assert any("0-twelve-chars" in name for name in names)


def test_two_labs_have_the_same_addresses_and_do_not_meet(tmp_path: Path) -> None:
    with Lab.create() as one, Lab.create() as two:
        assert one.id != two.id
        client = one.client("c")
        two.client("c")
        with two.capture(tmp_path / "two.pcap", filter="arp or icmp") as capture:
            client.run(["sh", "-c", "echo >/dev/udp/10.44.0.2/9 || true; ip neigh"])
            client.run(["bash", "-c", "echo x >/dev/udp/10.44.0.2/9"])
            capture.stop()
        assert _frames(tmp_path / "two.pcap") == 0
        one.down()
        assert two.network.dhcp.pids()


def test_a_capture_holds_what_passed_the_switch_and_is_bounded(tmp_path: Path) -> None:
    with Lab.create() as lab:
        client = lab.client("c")
        with lab.capture(tmp_path / "a.pcap", filter="udp port 9", packets=3):
            for _ in range(10):
                client.run(["bash", "-c", "echo x >/dev/udp/10.44.0.2/9"])
        assert _frames(tmp_path / "a.pcap") == 3
        with pytest.raises(HarnessError, match="tcpdump does not capture"):
            lab.capture(tmp_path / "b.pcap", filter="no such filter")


def _frames(path: Path) -> int:
    shown = subprocess.run(
        ["tcpdump", "-nr", str(path)], capture_output=True, text=True, check=True
    )
    return len(shown.stdout.splitlines())


_OWNER = """
import sys, time
from vm_harness.lab import Lab
lab = Lab.create()
vm = lab.vm("n1", memory=64)
vm.start()
print(lab.id, flush=True)
time.sleep(600)
"""


def test_a_lab_goes_down_with_an_owner_that_was_killed() -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    lab_id = owner.stdout.readline().strip()
    assert Namespace(namespace_prefix(lab_id) + "switch").pids()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    _wait_until_gone(lab_id)


def test_a_lab_whose_reaper_was_killed_too_is_stale_and_removed() -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    lab_id = owner.stdout.readline().strip()
    assert not registry.load(lab_id).stale
    for pid in _reapers(lab_id):
        os.kill(pid, signal.SIGKILL)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert registry.load(lab_id).stale
    assert Namespace(namespace_prefix(lab_id) + "switch").pids()
    subprocess.run([sys.executable, "-m", "vm_harness", "down", lab_id], check=True)
    assert _traces(lab_id) == []


def _reapers(lab_id: str) -> list[int]:
    return [
        int(entry.parent.name)
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if f"vm_harness.reaper\0{lab_id}\0".encode() in entry.read_bytes()
    ]


def test_a_failure_while_going_up_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    claim = registry.claim

    def note(accelerator: str) -> LabState:
        state = claim(accelerator)
        made.append(state.id)
        # A directory where dnsmasq's log file should go: it cannot start.
        (state.directory / "dnsmasq.log").mkdir()
        return state

    monkeypatch.setattr(registry, "claim", note)
    with pytest.raises((HarnessError, OSError)):
        Lab.create()
    assert _traces(made[0]) == []


def test_namespaces_without_files_are_orphans_and_removed() -> None:
    with Lab.create() as lab:
        lab.directory.rename(registry.BASE / f".{lab.id}-aside")
        assert lab.id in registry.orphans()
        registry.remove(lab.id)
        assert list_namespaces(namespace_prefix(lab.id)) == []
    assert _traces(lab.id) == []


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with Lab.create() as lab:
        client = lab.client("c")
        with (tmp_path / "log").open("wb") as log:
            stubborn = client.spawn(
                ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], log=log
            )
        while b"ready" not in (tmp_path / "log").read_bytes():
            time.sleep(0.01)
        end_processes([client], grace=0.3)
        assert stubborn.wait(5) == -signal.SIGKILL


def test_an_id_from_outside_is_checked() -> None:
    for bad in ("", "../../etc", "0123456", "XYZ", "0" * 9):
        with pytest.raises(HarnessError):
            registry.remove(bad)
        with pytest.raises(HarnessError):
            registry.load(bad)


def test_a_process_id_used_again_is_not_the_owner() -> None:
    mine = registry.process_started(os.getpid())
    assert registry.is_alive(os.getpid(), mine)
    assert not registry.is_alive(os.getpid(), mine - 1)
    assert not registry.is_alive(2**22 + 1, 1)
