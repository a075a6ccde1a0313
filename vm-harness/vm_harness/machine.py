"""A virtual machine as QEMU's command line."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from vm_harness.accel import Accelerator
from vm_harness.errors import HarnessError
from vm_harness.net import run

__all__ = ["Firmware", "Machine", "Nic", "prepare", "qemu_command"]

Firmware = Literal["bios", "uefi", "uefi-http", "uefi-arm64", "uefi-arm64-http"]
Nic = Literal["virtio-net-pci", "e1000"]


@dataclass(frozen=True, slots=True)
class _Flash:
    """A UEFI firmware's two files, and the Debian package that has them."""

    code: Path
    variables: Path
    package: str


_OVMF = _Flash(
    Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd"), "ovmf"
)
_AAVMF = _Flash(
    Path("/usr/share/AAVMF/AAVMF_CODE.fd"),
    Path("/usr/share/AAVMF/AAVMF_VARS.fd"),
    "qemu-efi-aarch64",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a VM is made of.

    ``macs`` are its NICs, the first of which boots; ``memory`` is in MiB; ``disks`` are sizes in
    QEMU's notation (``4G``) of qcow2 files that outlive a power cycle; ``watchdog`` adds an
    i6300esb that resets the machine; ``extra`` are further QEMU arguments; ``unplugged`` are the
    numbers of the NICs that have no cable at power-on.
    """

    name: str
    macs: tuple[str, ...]
    firmware: Firmware = "bios"
    memory: int = 768
    cpus: int = 1
    nic: Nic = "virtio-net-pci"
    disks: tuple[str, ...] = ()
    watchdog: bool = False
    extra: tuple[str, ...] = ()
    unplugged: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.firmware not in get_args(Firmware):
            raise HarnessError(f"firmware {self.firmware!r} is none of {get_args(Firmware)}")
        if self.nic not in get_args(Nic):
            raise HarnessError(f"nic {self.nic!r} is none of {get_args(Nic)}")
        if not self.macs or self.memory < 64:
            raise HarnessError("a VM needs a MAC address and at least 64 MiB")

    @property
    def is_arm64(self) -> bool:
        """Whether it is an arm64 machine; else it is an amd64 one."""
        return self.firmware.startswith("uefi-arm64")

    @property
    def uuid(self) -> uuid.UUID:
        """Its SMBIOS UUID: the same at every start, as a real machine's is."""
        return uuid.uuid5(uuid.NAMESPACE_OID, f"vm-harness {self.macs[0]}")

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Machine:
        """Return the machine whose ``dataclasses.asdict`` went through JSON."""
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        return cls(**given)


def prepare(machine: Machine, directory: Path) -> None:
    """Put a fresh copy of the firmware's variables and the disks into ``directory``."""
    if machine.firmware != "bios":
        flash = _flash(machine)
        if not flash.code.exists():
            raise HarnessError(
                f"{flash.code} is missing: install the Debian package {flash.package}"
            )
        shutil.copyfile(flash.variables, directory / "vars.fd")
    for number, size in enumerate(machine.disks):
        run(
            [
                "qemu-img",
                "create",
                "-q",
                "-f",
                "qcow2",
                str(directory / f"disk{number}.qcow2"),
                size,
            ]
        )


def qemu_command(machine: Machine, taps: Sequence[str], accelerator: Accelerator) -> list[str]:
    """Return the command that starts ``machine``, paused, in its directory.

    It makes the sockets ``serial.sock`` and ``qmp.sock`` there. QEMU itself appends all console
    output to ``console.log``, so the log is whole whoever is connected.
    """
    return [
        *(*_processor(machine, accelerator), "-name", machine.name, "-S"),
        *("-nodefaults", "-no-user-config", "-nographic"),
        *("-m", str(machine.memory), "-smp", str(machine.cpus)),
        *("-uuid", str(machine.uuid)),
        *("-smbios", f"type=1,manufacturer=vm-harness,product=QEMU,serial={machine.name}"),
        *("-chardev", "socket,id=serial,path=serial.sock,server=on,wait=off,"
          "logfile=console.log,logappend=on"),
        *("-serial", "chardev:serial"),
        *("-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control", "-device", "virtio-rng-pci"),
        *_firmware(machine),
        *(word for number, tap in enumerate(taps) for word in _nic(machine, number, tap)),
        *(word for number in range(len(machine.disks)) for word in _disk(number)),
        *(("-device", "i6300esb", "-action", "watchdog=reset") if machine.watchdog else ()),
        *machine.extra,
    ]  # fmt: skip


def _processor(machine: Machine, accelerator: Accelerator) -> list[str]:
    if machine.is_arm64:  # emulated wherever the lab is; a57, since "max" spends itself on PAC
        return ["qemu-system-aarch64", "-accel", "tcg,tb-size=128", "-cpu", "cortex-a57"]
    return ["qemu-system-x86_64", *accelerator.arguments]


def _flash(machine: Machine) -> _Flash:
    return _AAVMF if machine.is_arm64 else _OVMF


def _firmware(machine: Machine) -> list[str]:
    if machine.firmware == "bios":
        return ["-machine", "pc"]
    pflash = "if=pflash,format=raw"
    # The service is IPv4: without this UEFI tries PXE over IPv6 for minutes after a refusal.
    http = machine.firmware.endswith("-http")
    off = ["IPv4PXESupport", "IPv6PXESupport"] if http else ["IPv6PXESupport"]
    return [
        *("-machine", "virt" if machine.is_arm64 else "q35"),
        *("-drive", f"{pflash},unit=0,readonly=on,file={_flash(machine).code}"),
        *("-drive", f"{pflash},unit=1,file=vars.fd"),
        *(word for name in off for word in ("-fw_cfg", f"name=opt/org.tianocore/{name},string=n")),
    ]


def _nic(machine: Machine, number: int, tap: str) -> list[str]:
    device = f"{machine.nic},netdev=net{number},mac={machine.macs[number]},bootindex={number}"
    if machine.firmware != "bios" and machine.nic == "virtio-net-pci":
        device += ",romfile="  # else iPXE in the ROM takes the place of OVMF's own PXE client
    return [
        *("-netdev", f"tap,id=net{number},ifname={tap},script=no,downscript=no"),
        *("-device", device),
    ]


def _disk(number: int) -> list[str]:
    name = f"disk{number}"
    return [
        *("-blockdev", f"qcow2,node-name={name},file.driver=file,file.filename={name}.qcow2"),
        *("-device", f"virtio-blk-pci,drive={name},serial={name}"),
    ]
