"""NBPs that an admin added: network boot programs, content-addressed as artifacts are."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum

from bootserve.errors import InvalidInput

__all__ = ["MAX_NBP", "Nbp", "NbpArch", "check_nbp_name", "check_program"]

MAX_NBP = 16 << 20
"""Bytes of an NBP: TFTP serves it from memory."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,48}[A-Za-z0-9])?")


class NbpArch(StrEnum):
    """The firmware that an NBP is built for."""

    BIOS = "bios"
    X64 = "x64"
    ARM64 = "arm64"


_MACHINES = {NbpArch.X64: 0x8664, NbpArch.ARM64: 0xAA64}
"""The machine in a PE header (Microsoft PE/COFF, section "Machine Types")."""


@dataclass(frozen=True, slots=True)
class Nbp:
    """An NBP: its name, its firmware, and the sha256 (hex) and size (bytes) of its file.

    A name stands for one file for ever. ``added_at`` is seconds since the epoch; ``removed_at`` is
    set once it was removed.
    """

    name: str
    arch: NbpArch
    digest: str
    size: int
    added_at: float
    added_by: str
    removed_at: float | None = None

    @property
    def path(self) -> str:
        """The file name that it is offered by: its digest and its name, at most 122 characters."""
        return f"sha256/{self.digest}/{self.name}"


def check_nbp_name(name: str, arch: NbpArch) -> str:
    """Return ``name`` when an NBP for ``arch`` can have it; raises InvalidInput otherwise.

    At most 50 characters, so that digest and name together fit the boot file field of DHCP. EDK2
    takes a program over HTTP by the ending ``.efi``.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:60]!r} is not a usable NBP name",
            hint="Use letters, digits, '.', '-' and '_'; at most 50 characters.",
        )
    if name.endswith(".efi") == (arch is NbpArch.BIOS):
        what = "does not end" if arch is NbpArch.BIOS else "ends"
        raise InvalidInput(f"the name of an NBP for {arch} {what} in .efi", hint="Pass --name.")
    return name


def check_program(head: bytes, arch: NbpArch) -> None:
    """Raise InvalidInput unless a file that begins with ``head`` (1 KiB) may be one for ``arch``.

    An EFI program says in its PE header which machine it is for; a BIOS one says nothing, but is
    no EFI program.
    """
    machine = _machine(head)
    if arch is NbpArch.BIOS:
        if machine:
            raise InvalidInput("this is an EFI program, which no BIOS can start")
    elif not machine:
        raise InvalidInput("this is no EFI program: it has no PE header")
    elif machine != _MACHINES[arch]:
        known = {code: str(name) for name, code in _MACHINES.items()}
        found = known.get(machine, f"machine {machine:#x}")
        raise InvalidInput(f"this is an EFI program for {found}, not {arch}")


def _machine(head: bytes) -> int:
    """Return the machine in the PE header of ``head``, or 0 when there is none."""
    if head[:2] != b"MZ" or len(head) < 64:
        return 0
    (at,) = struct.unpack_from("<I", head, 60)
    if at + 6 > len(head) or head[at : at + 4] != b"PE\0\0":
        return 0
    machine: int = struct.unpack_from("<H", head, at + 4)[0]
    return machine
