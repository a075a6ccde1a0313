from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from vm_harness import accel
from vm_harness.accel import (
    Accelerator,
    boot_sector,
    choose_accelerator,
    kvm_plausible,
    probe,
)

INTEL = "processor\t: 0\nflags\t\t: fpu vme vmx ssse3\nbugs\t:\n"
AMD = "flags\t\t: fpu svm\n"
PLAIN = "flags\t\t: fpu vme avmx svmlock\n"


def test_boot_sector_is_one_bootable_sector() -> None:
    assert len(boot_sector()) == 512
    assert boot_sector()[510:] == b"\x55\xaa"


def test_probe_guest_reaches_long_mode_under_tcg() -> None:
    assert probe(Accelerator.TCG, timeout=10)


def test_probe_gives_up_on_a_guest_that_does_not_answer() -> None:
    assert not probe(Accelerator.TCG, timeout=0.01)


@pytest.mark.parametrize(
    ("cpuinfo", "device", "software", "plausible"),
    [
        (INTEL, True, False, True),
        (AMD, True, False, True),
        (PLAIN, True, False, False),
        ("", True, False, False),
        (INTEL, False, False, False),
        (INTEL, True, True, False),
    ],
)
def test_kvm_needs_hardware_flags_a_device_and_no_software_kvm(
    tmp_path: Path, cpuinfo: str, device: bool, software: bool, plausible: bool
) -> None:
    if device:
        (tmp_path / "kvm").touch()
    if software:
        (tmp_path / "modules/kvm_pvm").mkdir(parents=True)
    found = kvm_plausible(cpuinfo, kvm_device=tmp_path / "kvm", modules=tmp_path / "modules")
    assert found is plausible


QEMU = """\
#!/bin/sh
echo "$*" >> {asked}
{does}
"""
WORKS, HANGS, FAILS = "exit 85", "exec sleep 30", "echo no KVM >&2; exit 1"


@pytest.mark.parametrize(
    ("plausible", "does", "chosen", "asked"),
    [
        (True, WORKS, Accelerator.KVM, 1),
        (True, HANGS, Accelerator.TCG, 1),
        (True, FAILS, Accelerator.TCG, 1),
        (False, WORKS, Accelerator.TCG, 0),  # absent: no guest is tried
    ],
)
def test_kvm_is_chosen_when_its_guest_answers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plausible: bool,
    does: str,
    chosen: Accelerator,
    asked: int,
) -> None:
    said, qemu = tmp_path / "asked", tmp_path / "qemu-system-x86_64"
    said.touch()
    qemu.write_text(QEMU.format(asked=said, does=does))
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    seen: list[dict[str, Any]] = []

    def looked(cpuinfo: str, **where: Path) -> bool:
        seen.append({"cpuinfo": cpuinfo.startswith("processor"), **where})
        return plausible

    monkeypatch.setattr(accel, "kvm_plausible", looked)
    assert choose_accelerator() is chosen
    assert seen == [
        {"cpuinfo": True, "kvm_device": Path("/dev/kvm"), "modules": Path("/sys/module")}
    ]
    lines = said.read_text().splitlines()
    assert len(lines) == asked
    assert all("-accel kvm " in line for line in lines)
