"""Real firmware in the lab, without any boot server: what the harness itself must get right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vm_harness.errors import ExpectError, HarnessError
from vm_harness.lab import Lab, mac_for
from vm_harness.phases import ConsolePhases, follow
from vm_harness.pytest_plugin import VmFactory
from vm_harness.timing import script_timeout

pytestmark = pytest.mark.vm


def test_bios_gets_an_address_and_nothing_else(lab: Lab, vm: VmFactory, tmp_path: Path) -> None:
    node = vm("n1", memory=256, disks=["1G"])
    with lab.capture(tmp_path / "boot.pcap", filter="udp port 67 or udp port 68"):
        node.start()
        phases = {
            phase.name: phase
            for phase in follow(node, [ConsolePhases(node)], until=["no-boot"], timeout=30)
        }
    assert list(phases) == ["firmware", "ipxe", "address", "no-boot"]
    assert phases["ipxe"].after < phases["no-boot"].after < 30
    lease = next(lease for lease in lab.dhcp.leases() if lease.mac == node.mac)
    assert phases["address"].detail == f"net0: {lease.address}"
    assert node.mac == mac_for("n1")
    assert lab.dhcp.gave_only_addresses()
    assert (tmp_path / "boot.pcap").stat().st_size > 1000

    assert node.memory_bytes() == 256 << 20
    assert node.disks() == {"disk0": 1 << 30}
    node.save_memory(tmp_path / "memory")
    assert b"iPXE" in (tmp_path / "memory").read_bytes()

    with pytest.raises(ExpectError, match=r"(?s)its last lines:\n.*Nothing to boot"):
        node.expect("bootserve", 0.1)


def test_keys_reach_the_firmware_and_power_does_what_it_says(vm: VmFactory) -> None:
    node = vm("n2", memory=256).start()
    first = node.started_monotonic
    node.expect("Press Ctrl-B for the iPXE command line", script_timeout("bios"))
    node.send("\x02")
    node.expect("iPXE> ", 10)
    node.send("echo six times seven is ${net0/mac}\n", pace=0.03)
    node.expect(rf"is {node.mac}", 10)

    node.reset()
    assert node.wait_reset(10).data["guest"] is False
    node.expect("Machine UUID", 10)  # by then the line before is in the log

    node.power_cycle()
    assert node.started_monotonic > first
    node.expect("Machine UUID", 10)  # by then the line before is in the log
    assert node.console_log.read_bytes().count(b"SeaBIOS (version") == 3

    node.kill()
    assert not node.running
    assert "SeaBIOS" in node.console.text
    with pytest.raises(HarnessError, match="not running"):
        node.qmp("query-status")


def test_a_guest_that_goes_off_by_itself_is_seen(vm: VmFactory) -> None:
    node = vm("n3", memory=256, extra=["-no-reboot"]).start()
    node.expect("Press Ctrl-B for the iPXE command line", script_timeout("bios"))
    node.send("\x02")
    node.expect("iPXE> ", 10)
    node.send("reboot\n")
    assert node.wait_exit(20) == 0
    assert not node.running
    with pytest.raises(ExpectError, match="the console ended"):
        node.expect("SeaBIOS.*SeaBIOS", 10)


def test_two_nics_are_two_taps_that_go_with_the_vm(lab: Lab, vm: VmFactory) -> None:
    node = vm("n4", extra_macs=["52:54:00:00:00:99"], memory=256)
    assert len(node.taps) == 2
    assert node.taps[1] in lab.network.switch.ip("-o", "link")
    node.start()
    node.expect(r"SeaBIOS \(version", 10)
    node.close()
    assert node.taps[1] not in lab.network.switch.ip("-o", "link")
    assert not node.directory.exists()


def test_a_disk_is_plugged_in(vm: VmFactory, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(1 << 20))
    node = vm("n5", memory=64).start()
    node.attach_disk(tmp_path / "data", "disk-extra")
    assert [device["qdev_id"] for device in node.qmp("qom-list", path="/machine/peripheral")
            if device.get("qdev_id")] == []  # fmt: skip
    names = [entry["name"] for entry in node.qmp("qom-list", path="/machine/peripheral")]
    assert "disk-extra-disk" in names


def test_what_qemu_refuses_is_said(vm: VmFactory) -> None:
    with pytest.raises(HarnessError, match="no-such-device"):
        vm("bad", memory=64, extra=["-device", "no-such-device"]).start()
    node = vm("n6", memory=64).start()
    with pytest.raises(HarnessError, match="nonsense"):
        node.qmp("nonsense")
    with pytest.raises(HarnessError, match="already"):
        vm("n6")
    with pytest.raises(HarnessError, match="not a usable name"):
        vm("../n7")


def test_another_process_finds_a_vm_and_takes_it_over(lab: Lab, vm: VmFactory) -> None:
    node = vm("n8", memory=256).start()
    node.expect(r"SeaBIOS \(version", 10)
    node.detach()
    assert lab.vm_names() == ["n8"]
    found = lab.find_vm("n8")
    assert found.running
    found.connect()
    found.expect("Press Ctrl-B for the iPXE command line", script_timeout("bios"))
    assert abs(found.started_monotonic - node.started_monotonic) < 1
    found.kill()
    assert node.wait_exit(5) == -9
    assert json.loads((node.directory / "vm.json").read_text())["machine"]["name"] == "n8"
