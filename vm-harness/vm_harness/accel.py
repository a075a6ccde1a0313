"""Which accelerator QEMU may use here: KVM where a probe shows that it works, else TCG.

A /dev/kvm that opens proves nothing. A host whose KVM is itself software (``kvm_pvm``) or nested
badly lets QEMU start and then hangs the guest, so the probe runs a guest and waits for its answer.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from enum import StrEnum
from pathlib import Path

__all__ = ["Accelerator", "boot_sector", "choose_accelerator", "kvm_plausible", "probe"]

PROBE_TIMEOUT = 2.0  # seconds; the same guest takes 0.3 s under TCG
_ANSWER = 0x2A
_ORIGIN = 0x7C00
_GDT = 0x7CD0
_GDTR = 0x7CF0


class Accelerator(StrEnum):
    """A QEMU accelerator."""

    KVM = "kvm"
    TCG = "tcg"

    @property
    def arguments(self) -> list[str]:
        """The QEMU arguments that choose it.

        TCG's default translation cache costs more time and memory than a guest this small repays.
        """
        if self is Accelerator.KVM:
            return ["-accel", "kvm", "-cpu", "host"]
        return ["-accel", "tcg,tb-size=128", "-cpu", "max"]


_CODE: tuple[tuple[str, str], ...] = (
    ("fa", "cli"),
    ("31 c0", "xor ax, ax"),
    ("8e d8", "mov ds, ax"),
    ("8e c0", "mov es, ax"),
    ("fc", "cld"),
    # Page tables at 0x1000 (PML4), 0x2000 (PDPT), 0x3000 (PD): the first 2 MiB, one to one.
    ("bf 00 10", "mov di, 0x1000"),
    ("b9 00 18", "mov cx, 0x1800"),
    ("f3 ab", "rep stosw"),
    ("c7 06 00 10 03 20", "mov word [0x1000], 0x2003"),
    ("c7 06 00 20 03 30", "mov word [0x2000], 0x3003"),
    ("c7 06 00 30 83 00", "mov word [0x3000], 0x0083"),
    ("66 b8 20 00 00 00", "mov eax, 0x20 ; PAE"),
    ("0f 22 e0", "mov cr4, eax"),
    ("66 b8 00 10 00 00", "mov eax, 0x1000"),
    ("0f 22 d8", "mov cr3, eax"),
    ("66 b9 80 00 00 c0", "mov ecx, 0xc0000080 ; EFER"),
    ("0f 32", "rdmsr"),
    ("66 0d 00 01 00 00", "or eax, 0x100 ; LME"),
    ("0f 30", "wrmsr"),
    (f"0f 01 16 {_GDTR & 0xFF:02x} {_GDTR >> 8:02x}", "lgdt [gdtr]"),
    ("0f 20 c0", "mov eax, cr0"),
    ("66 0d 01 00 00 80", "or eax, 0x80000001 ; PG, PE"),
    ("0f 22 c0", "mov cr0, eax"),
    ("ea {long} 08 00", "jmp 0x08:long"),
    # From here in 64-bit code. Only a 64-bit decoder reads the next two instructions so that al
    # becomes the answer.
    (f"48 b8 00 00 00 00 {_ANSWER:02x} 00 00 00", f"long: mov rax, {_ANSWER:#x}00000000"),
    ("48 c1 e8 20", "shr rax, 32"),
    ("e6 f4", "out 0xf4, al ; isa-debug-exit"),
    ("f4", "hlt"),
    ("eb fd", "jmp to the hlt"),
)
_GDT_BYTES = bytes(8) + bytes.fromhex("00 00 00 00 00 9a 20 00")  # null, 64-bit code


def boot_sector() -> bytes:
    """Return 512 bytes that enter long mode and write 0x2a to port 0xf4 (isa-debug-exit)."""
    before = [text for text, _ in _CODE[: _index_of_jump() + 1]]
    long_mode = _ORIGIN + sum(len(text.replace("{long}", "00 00").split()) for text in before)
    little = f"{long_mode & 0xFF:02x} {long_mode >> 8:02x}"
    code = bytes.fromhex(" ".join(text.replace("{long}", little) for text, _ in _CODE))
    sector = bytearray(512)
    sector[: len(code)] = code
    sector[_GDT - _ORIGIN : _GDT - _ORIGIN + len(_GDT_BYTES)] = _GDT_BYTES
    gdtr = (len(_GDT_BYTES) - 1).to_bytes(2, "little") + _GDT.to_bytes(4, "little")
    sector[_GDTR - _ORIGIN : _GDTR - _ORIGIN + len(gdtr)] = gdtr
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def _index_of_jump() -> int:
    return next(i for i, (text, _) in enumerate(_CODE) if "{long}" in text)


def probe(accelerator: Accelerator, *, timeout: float = PROBE_TIMEOUT) -> bool:
    """Return whether a guest reaches long mode and answers within ``timeout`` seconds."""
    with tempfile.NamedTemporaryFile(prefix="vm-harness-probe-") as image:
        image.write(boot_sector().ljust(1 << 16, b"\0"))
        image.flush()
        try:
            done = subprocess.run(
                _probe_command(accelerator, image.name),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=timeout,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return done.returncode == (_ANSWER << 1 | 1)


def _probe_command(accelerator: Accelerator, image: str) -> list[str]:
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "pc", "-m", "16", *accelerator.arguments, "-no-reboot"),
        *("-drive", f"file={image},format=raw,if=ide,snapshot=on"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
    ]


def kvm_plausible(cpuinfo: str, *, kvm_device: Path, modules: Path) -> bool:
    """Return whether KVM is worth probing.

    ``cpuinfo`` is the text of /proc/cpuinfo, ``kvm_device`` /dev/kvm and ``modules`` /sys/module.
    Without vmx or svm, or with the software KVM ``kvm_pvm``, a guest is known to hang.
    """
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    hardware = flags is not None and {"vmx", "svm"} & set(flags[1].split())
    return bool(hardware) and kvm_device.exists() and not (modules / "kvm_pvm").exists()


def choose_accelerator() -> Accelerator:
    """Return KVM when it is plausible and the probe's guest answers, else TCG."""
    plausible = kvm_plausible(
        Path("/proc/cpuinfo").read_text(),
        kvm_device=Path("/dev/kvm"),
        modules=Path("/sys/module"),
    )
    return Accelerator.KVM if plausible and probe(Accelerator.KVM) else Accelerator.TCG
