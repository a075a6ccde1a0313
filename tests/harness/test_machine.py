from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from vm_harness.accel import Accelerator
from vm_harness.errors import HarnessError
from vm_harness.machine import Machine, prepare, qemu_command

MAC = "52:54:00:00:00:01"


def _command(machine: Machine, accelerator: Accelerator = Accelerator.TCG) -> str:
    taps = [f"tap{n}" for n in range(len(machine.macs))]
    return " ".join(qemu_command(machine, taps, accelerator))


def test_bios_boots_from_the_rom_of_its_nic() -> None:
    command = _command(Machine("n1", (MAC,)))
    assert "-machine pc" in command
    assert f"virtio-net-pci,netdev=net0,mac={MAC},bootindex=0" in command
    assert "romfile" not in command
    assert "pflash" not in command


def test_uefi_has_firmware_and_no_rom_on_virtio() -> None:
    command = _command(Machine("n1", (MAC,), "uefi"))
    assert "OVMF_CODE_4M.fd" in command
    assert "file=vars.fd" in command
    assert "bootindex=0,romfile=" in command
    assert "IPv4PXESupport" not in command


def test_uefi_on_e1000_keeps_the_rom_without_which_ovmf_has_no_driver() -> None:
    assert "romfile" not in _command(Machine("n1", (MAC,), "uefi", nic="e1000"))


def test_uefi_http_has_pxe_switched_off() -> None:
    command = _command(Machine("n1", (MAC,), "uefi-http"))
    assert "name=opt/org.tianocore/IPv4PXESupport,string=n" in command


def test_arm64_is_emulated_with_firmware_of_its_own() -> None:
    command = _command(Machine("n1", (MAC,), "uefi-arm64"), Accelerator.KVM)
    assert command.startswith("qemu-system-aarch64 -accel tcg")
    assert "-machine virt" in command
    assert "AAVMF_CODE.fd" in command
    assert "bootindex=0,romfile=" in command
    assert "kvm" not in command
    assert "IPv4PXESupport" not in command
    assert "IPv4PXESupport" in _command(Machine("n1", (MAC,), "uefi-arm64-http"))


def test_kvm_is_used_only_when_chosen() -> None:
    assert "kvm" not in _command(Machine("n1", (MAC,)))
    assert "-accel kvm -cpu host" in _command(Machine("n1", (MAC,)), Accelerator.KVM)


def test_every_part_is_on_the_command_line() -> None:
    machine = Machine(
        "n1",
        (MAC, "52:54:00:00:00:02"),
        memory=512,
        disks=("1G",),
        watchdog=True,
        extra=("-no-reboot",),
    )
    command = _command(machine)
    assert "-m 512" in command
    assert "ifname=tap1" in command
    assert "mac=52:54:00:00:00:02,bootindex=1" in command
    assert "virtio-blk-pci,drive=disk0,serial=disk0" in command
    assert "-device i6300esb -action watchdog=reset" in command
    assert command.endswith("-no-reboot")


def test_the_uuid_is_the_machines_own_and_stays() -> None:
    assert Machine("a", (MAC,)).uuid == Machine("b", (MAC,), "uefi").uuid
    assert Machine("a", (MAC,)).uuid != Machine("a", ("52:54:00:00:00:02",)).uuid


def test_it_survives_json() -> None:
    machine = Machine("n1", (MAC,), "uefi", disks=("1G", "2G"), extra=("-no-reboot",))
    assert Machine.from_json(json.loads(json.dumps(asdict(machine)))) == machine


def test_variables_are_a_fresh_copy(tmp_path: Path) -> None:
    prepare(Machine("n1", (MAC,), "uefi", disks=("1G",)), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"vars.fd", "disk0.qcow2"}


@pytest.mark.parametrize(
    "parts",
    [
        {"firmware": "coreboot"},
        {"nic": "rtl8139"},
        {"memory": 16},
        {"macs": ()},
    ],
)
def test_what_cannot_be_built_is_refused(parts: dict[str, object]) -> None:
    with pytest.raises(HarnessError):
        Machine.from_json({"name": "n1", "macs": (MAC,), **parts})
