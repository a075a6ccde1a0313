"""What an NBP's file says of itself: the architecture it is for, and what its iPXE can do."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from bootserve.errors import PacketError
from bootserve.wire.dhcp import parse_options
from bootserve.wire.pxe import ClientArch, IpxeFeatures

__all__ = ["NbpFacts", "inspect_nbp"]

_MACHINES: Final = {
    0x014C: ClientArch.EFI_IA32,
    0x8664: ClientArch.EFI_X64,
    0xAA64: ClientArch.EFI_ARM64,
}
"""The machine field of a PE header (Microsoft PE format, "Machine Types")."""
_EFI_APPLICATION: Final = 10
_VERSION: Final = re.compile(rb"iPXE\0+(\d+\.\d+\.\d+[\x20-\x7e]{0,60})\0")
_FEATURES: Final = re.compile(rb"\xeb\x03...(?:[\x10-\x3f]\x01[\x01-\x0f]){3,40}", re.DOTALL)
"""The list that an iPXE sends in option 175 stands in its file as it is sent: its version (0xeb),
then one byte for each feature (``src/include/ipxe/features.h``)."""
_BIOS_MARKS: Final = (b"PXE->EB:", b"UNDI code segment")
"""What iPXE's BIOS loader prints; all behind it is compressed."""


@dataclass(frozen=True, slots=True)
class NbpFacts:
    """What is known of an NBP. ``arch`` is None for a file that is no program we know.

    ``features`` is None where they cannot be read: a BIOS iPXE is compressed, and says them only
    when it runs.
    """

    arch: ClientArch | None
    is_ipxe: bool = False
    version: str = ""
    features: IpxeFeatures | None = None

    def __str__(self) -> str:
        if self.arch is None:
            return "no boot program that is known here"
        what = f"{self.arch} program" if not self.is_ipxe else f"iPXE for {self.arch}"
        version = f" {self.version}" if self.version else ""
        if self.features is None:
            return what + version
        has = [name for name in ("http", "https") if getattr(self.features, name)]
        return f"{what}{version}, with {' and '.join(has).upper() or 'neither HTTP nor HTTPS'}"


def inspect_nbp(data: bytes) -> NbpFacts:
    """Return what the file ``data`` is; never raises."""
    arch = _efi_arch(data)
    if arch is None:
        is_bios = all(mark in data[:16384] for mark in _BIOS_MARKS)
        return NbpFacts(ClientArch.BIOS, is_ipxe=True) if is_bios else NbpFacts(None)
    version = _VERSION.search(data)
    features = _features(data)
    return NbpFacts(
        arch,
        is_ipxe=version is not None or features is not None,
        version=version[1].decode("ascii") if version else "",
        features=features,
    )


def _efi_arch(data: bytes) -> ClientArch | None:
    """Return the architecture of an EFI application, from its MZ and PE headers."""
    if data[:2] != b"MZ" or len(data) < 0x40:
        return None
    at = struct.unpack_from("<I", data, 0x3C)[0]
    if data[at : at + 4] != b"PE\0\0" or at + 94 > len(data):
        return None
    if struct.unpack_from("<H", data, at + 92)[0] != _EFI_APPLICATION:
        return None
    return _MACHINES.get(struct.unpack_from("<H", data, at + 4)[0])


def _features(data: bytes) -> IpxeFeatures | None:
    found = _FEATURES.search(data)
    if found is None:
        return None
    try:
        said = parse_options(found[0])
    except PacketError:
        return None
    return IpxeFeatures(
        http=any(said.get(0x13, b"")),
        https=any(said.get(0x14, b"")),
        efi=any(said.get(0x24, b"")),
        version=".".join(map(str, said[0xEB])),
    )
