"""The packets that a firmware sends: a probe's disguise.

Options and their values are those of OVMF 2022.11 and iPXE 1.0.0 in ``tests/captures``, and one
more, option 224, by which a bootserve knows a probe and counts, learns and records nothing of it.
"""

from __future__ import annotations

from typing import Final

from bootserve.core.judgement import Firmware
from bootserve.model.names import Mac
from bootserve.wire.dhcp import BOOTREQUEST, NO_ADDRESS, DhcpPacket, MessageType
from bootserve.wire.pxe import OPT_PROBE, PROBE_MARK

__all__ = ["boot_request", "discover"]

BROADCAST: Final = 0x8000
_WANTED: Final = bytes(
    (*range(1, 7), 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67)
) + bytes((97, *range(128, 136)))
_IPXE_WANTED: Final = bytes((1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119)) + bytes(
    (*range(128, 136), 175, 203)
)
_IPXE_FEATURES: Final = bytes.fromhex("eb03010000170101220101130101110101270101190101290101100102")
_NO_UUID: Final = bytes(17)
"""Type 0 and a UUID of zeros, which says that the machine has none."""

_ARCH: Final = {
    Firmware.BIOS: 0,
    Firmware.UEFI: 7,
    Firmware.UEFI_ARM64: 11,
    Firmware.HTTP: 16,
}
_IPXE_ARCH: Final = {**_ARCH, Firmware.HTTP: 7, Firmware.IPXE: 7}


def discover(
    firmware: Firmware, mac: Mac, xid: int, *, ipxe_on: Firmware | None = None
) -> DhcpPacket:
    """Return the DISCOVER that ``firmware`` broadcasts.

    ``ipxe_on`` says which firmware an iPXE was loaded by; UEFI x64 where it is not given. The
    broadcast flag is set, so that answers come to a host whose NIC has another MAC.
    """
    options = {53: bytes((MessageType.DISCOVER,)), 57: b"\x05\xc0"}
    options |= _options(firmware, ipxe_on or firmware)
    return DhcpPacket(BOOTREQUEST, xid, _chaddr(mac), options, flags=BROADCAST)


def boot_request(
    firmware: Firmware,
    mac: Mac,
    xid: int,
    *,
    address: bytes,
    server: bytes = NO_ADDRESS,
    ipxe_on: Firmware | None = None,
) -> DhcpPacket:
    """Return the REQUEST that ``firmware`` sends to port 4011 for a boot file.

    ``address`` is the client's, four bytes, to which the answer comes; ``server`` the boot
    server's, which iPXE repeats in option 54 and EDK2 does not. It asks for no lease (PXE 2.1
    section 2.2.3).
    """
    options = {53: bytes((MessageType.REQUEST,)), 57: b"\x05\xc0"}
    if firmware is Firmware.IPXE and server != NO_ADDRESS:
        options[54] = server
    options |= _options(firmware, ipxe_on or firmware)
    return DhcpPacket(BOOTREQUEST, xid, _chaddr(mac), options, ciaddr=address)


def _options(firmware: Firmware, loaded_by: Firmware) -> dict[int, bytes]:
    is_ipxe = firmware is Firmware.IPXE
    code = (_IPXE_ARCH if is_ipxe else _ARCH)[loaded_by]
    name = "HTTPClient" if firmware is Firmware.HTTP else "PXEClient"
    undi = (3, 16) if is_ipxe else (2, 1) if firmware is Firmware.BIOS else (3, 0)
    options = {
        55: _IPXE_WANTED if is_ipxe else _WANTED,
        97: _NO_UUID,
        94: bytes((1, *undi)),
        93: code.to_bytes(2, "big"),
        60: f"{name}:Arch:{code:05d}:UNDI:{undi[0]:03d}{undi[1]:03d}".encode(),
    }
    options[OPT_PROBE] = PROBE_MARK
    if is_ipxe:
        efi = b"" if code == 0 else b"\x24\x01\x01"
        options |= {77: b"iPXE", 175: _IPXE_FEATURES + efi}
    return options


def _chaddr(mac: Mac) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
