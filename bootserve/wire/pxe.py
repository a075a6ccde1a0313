"""What a network-boot client says of itself in DHCP options, and PXE's own options.

Sources: PXE 2.1 sections 2.2 and 2.3 (options 43, 60), RFC 4578 (93, 94, 97), RFC 3004 (77), iPXE's
``src/include/ipxe/dhcp.h`` (175) and, where firmware differs from these, runs against it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from bootserve.errors import PacketError
from bootserve.model.names import Mac
from bootserve.wire.dhcp import (
    BOOTREQUEST,
    OPT_ARCH,
    OPT_USER_CLASS,
    OPT_UUID,
    OPT_VENDOR,
    OPT_VENDOR_CLASS,
    DhcpPacket,
    parse_options,
)

__all__ = [
    "BOOT_FILE_ONLY",
    "HTTP_CLASS",
    "OPT_IPXE",
    "OPT_PROBE",
    "OPT_UNDI",
    "PROBE_MARK",
    "PXE_CLASS",
    "BootServer",
    "ClientArch",
    "FirmwareKind",
    "IpxeFeatures",
    "MenuItem",
    "NotBootClient",
    "PxeClient",
    "build_vendor",
    "classify",
]

OPT_UNDI: Final = 94
OPT_IPXE: Final = 175
OPT_PROBE: Final = 224  # site-specific (RFC 3942)
PXE_CLASS: Final = b"PXEClient"
PROBE_MARK: Final = b"bootserve-probe"
"""In option 224: the packet is a probe's, which looks and must leave no trace."""
HTTP_CLASS: Final = b"HTTPClient"

_DISCOVERY_CONTROL: Final = 6
_BOOT_SERVERS: Final = 8
_BOOT_MENU: Final = 9
_MENU_PROMPT: Final = 10
_BOOT_ITEM: Final = 71

BOOT_FILE_ONLY: Final = 8
"""Discovery control (43.6) bit 3: load the boot file named here, with no menu and no discovery."""

_IPXE_HTTP: Final = 0x13
_IPXE_HTTPS: Final = 0x14
_IPXE_EFI: Final = 0x24
_IPXE_BUS_ID: Final = 0xB1
_IPXE_VERSION: Final = 0xEB

_IPXE_NAMES: Final[Mapping[int, str]] = {
    0x11: "iscsi",
    0x12: "aoe",
    _IPXE_HTTP: "http",
    _IPXE_HTTPS: "https",
    0x15: "tftp",
    0x16: "ftp",
    0x17: "dns",
    0x18: "bzimage",
    0x19: "multiboot",
    0x1B: "srp",
    0x21: "pxe",
    0x22: "elf",
    0x23: "comboot",
    _IPXE_EFI: "efi",
    0x25: "fcoe",
    0x26: "vlan",
    0x27: "menu",
    0x28: "sdi",
    0x29: "nfs",
}
"""The features of option 175 (iPXE's ``src/include/ipxe/features.h``)."""

_GUID: Final = struct.Struct("<IHH2s6s")
_NO_UUID: Final = "00000000-0000-0000-0000-000000000000"

_RASPBERRY_PI: Final = frozenset(
    bytes.fromhex(oui)
    for oui in ("b827eb", "dca632", "e45f01", "28cdc1", "d83add", "2ccf67", "88a29e")
)


class ClientArch(StrEnum):
    """What an NBP has to be built for; the wire's numbers fold into these."""

    BIOS = "bios"
    EFI_IA32 = "efi-ia32"
    EFI_X64 = "efi-x64"
    EFI_ARM64 = "efi-arm64"
    RASPBERRY_PI = "raspberry-pi"

    @property
    def is_efi(self) -> bool:
        """Whether the firmware is UEFI."""
        return self in _EFI


_EFI: Final = (ClientArch.EFI_IA32, ClientArch.EFI_X64, ClientArch.EFI_ARM64)

_ARCH: Final[Mapping[int, ClientArch]] = {
    0: ClientArch.BIOS,
    6: ClientArch.EFI_IA32,
    7: ClientArch.EFI_X64,
    9: ClientArch.EFI_X64,  # RFC 4578 says EBC; x64 firmware sends it (its erratum 4625)
    11: ClientArch.EFI_ARM64,
    15: ClientArch.EFI_IA32,
    16: ClientArch.EFI_X64,
    19: ClientArch.EFI_ARM64,
}


class FirmwareKind(StrEnum):
    """Which of the three kinds of boot client sent a packet."""

    PXE = "pxe"
    HTTP = "http"
    IPXE = "ipxe"


@dataclass(frozen=True, slots=True)
class IpxeFeatures:
    """What an iPXE can do (option 175). ``bus_id`` is the NIC's ``type, vendor, device`` in hex.

    ``names`` has every feature that it names, in the order of their numbers.
    """

    http: bool = False
    https: bool = False
    efi: bool = False
    version: str = ""
    bus_id: str = ""
    names: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class PxeClient:
    """A network-boot client, as one of its packets describes it.

    ``vendor_class`` is option 60 as sent; ``arch_codes`` option 93 (16-bit numbers, one as a
    rule); ``uuid`` option 97 as the machine's labels and dmidecode write it, empty
    when absent or all zero; ``undi`` the version in
    option 94 (``3.16``), empty when absent; ``features`` is None when there is no option 175;
    ``boot_item`` is the value of 43.71, empty when absent;
    ``is_probe`` says that it is nobody who boots: a probe, marked by option 224.
    """

    mac: Mac
    kind: FirmwareKind
    arch: ClientArch
    vendor_class: str
    arch_codes: tuple[int, ...]
    uuid: str = ""
    undi: str = ""
    features: IpxeFeatures | None = None
    boot_item: bytes = b""
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class NotBootClient:
    """A packet that no network-boot client sent, or one whose words are malformed, and why."""

    reason: str


def classify(packet: DhcpPacket) -> PxeClient | NotBootClient:
    """Return who sent ``packet``, or why it does not come from a network-boot client.

    iPXE is told by its user class alone: it goes on using the vendor class of the firmware that
    it replaced. A missing option 97 is accepted (some ROMs send none), a malformed one is not
    (PXE 2.1 section 2.2.2). Never raises.
    """
    options = packet.options
    vendor_class = options.get(OPT_VENDOR_CLASS, b"")
    if packet.op != BOOTREQUEST:
        return NotBootClient("it is a reply, not a request")
    if not vendor_class.startswith((PXE_CLASS, HTTP_CLASS)):
        return NotBootClient("option 60 names neither PXEClient nor HTTPClient")
    mac = packet.mac
    if not mac:
        return NotBootClient("its hardware address is not the Ethernet address of a NIC")
    codes = _arch_codes(options.get(OPT_ARCH, b""))
    arch = _client_arch(packet.chaddr, codes)
    if arch is None:
        return NotBootClient(_arch_reason(codes))
    try:
        return PxeClient(
            mac,
            _kind(options, vendor_class),
            arch,
            vendor_class.decode("ascii", "backslashreplace"),
            codes,
            _uuid(options.get(OPT_UUID, b"")),
            _undi(options.get(OPT_UNDI, b"")),
            _ipxe_features(options[OPT_IPXE]) if OPT_IPXE in options else None,
            _boot_item(options[OPT_VENDOR]) if OPT_VENDOR in options else b"",
            OPT_PROBE in options and options[OPT_PROBE] == PROBE_MARK,
        )
    except PacketError as error:
        return NotBootClient(str(error))


def _kind(options: Mapping[int, bytes], vendor_class: bytes) -> FirmwareKind:
    user_class = options.get(OPT_USER_CLASS)
    if user_class is not None and b"iPXE" in _user_classes(user_class):
        return FirmwareKind.IPXE
    if vendor_class.startswith(HTTP_CLASS):
        return FirmwareKind.HTTP
    return FirmwareKind.PXE


def _user_classes(value: bytes) -> Sequence[bytes]:
    """Return the classes in option 77: RFC 3004's list, or iPXE's bare string, which is not one."""
    classes = []
    at = 0
    while at < len(value):
        end = at + 1 + value[at]
        if end > len(value):
            return [value]
        classes.append(value[at + 1 : end])
        at = end
    return classes


def _arch_codes(value: bytes) -> tuple[int, ...]:
    if len(value) == 2:
        return ((value[0] << 8) | value[1],)
    if len(value) % 2:
        return ()
    return tuple((value[at] << 8) | value[at + 1] for at in range(0, len(value), 2))


def _client_arch(chaddr: bytes, codes: tuple[int, ...]) -> ClientArch | None:
    for code in codes:
        arch = _ARCH.get(code)
        if arch is ClientArch.BIOS and chaddr[:3] in _RASPBERRY_PI:
            # A Raspberry Pi's boot ROM claims to be a PC's BIOS.
            return ClientArch.RASPBERRY_PI
        if arch is not None:
            return arch
    return None


def _arch_reason(codes: tuple[int, ...]) -> str:
    if not codes:
        return "option 93 (client architecture) is missing or malformed"
    return f"option 93 names no architecture that can be booted: {', '.join(map(str, codes))}"


def _uuid(value: bytes) -> str:
    if not value:
        return ""
    if len(value) != 17 or value[0] != 0:
        raise PacketError("option 97 (client UUID) is not 17 bytes of type 0")
    # EDK2 and iPXE send SMBIOS' bytes, whose first three fields are little-endian.
    low, mid, high, rest, node = _GUID.unpack_from(value, 1)
    text = f"{low:08x}-{mid:04x}-{high:04x}-{rest.hex()}-{node.hex()}"
    return "" if text == _NO_UUID else text


def _undi(value: bytes) -> str:
    return f"{value[1]}.{value[2]}" if len(value) == 3 else ""


def _ipxe_features(value: bytes) -> IpxeFeatures:
    found = parse_options(value)
    return IpxeFeatures(
        http=_flag(found, _IPXE_HTTP),
        https=_flag(found, _IPXE_HTTPS),
        efi=_flag(found, _IPXE_EFI),
        version=".".join(map(str, found.get(_IPXE_VERSION, b""))),
        bus_id=found.get(_IPXE_BUS_ID, b"").hex(),
        names=tuple(name for code, name in _IPXE_NAMES.items() if _flag(found, code)),
    )


def _boot_item(value: bytes) -> bytes:
    item = parse_options(value).get(_BOOT_ITEM, b"")
    if len(item) not in (0, 4):
        raise PacketError("option 43.71 (boot item) is not a type and a layer of two bytes each")
    return item


def _flag(options: Mapping[int, bytes], code: int) -> bool:
    return any(options.get(code, b""))


@dataclass(frozen=True, slots=True)
class BootServer:
    """An entry of the boot-server list (43.8): a type and its servers, four bytes each."""

    type: int
    addresses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class MenuItem:
    """An entry of the boot menu (43.9): the boot-server type that it stands for, and its text."""

    type: int
    text: str


def build_vendor(
    *,
    control: int | None = None,
    servers: Sequence[BootServer] = (),
    menu: Sequence[MenuItem] = (),
    prompt: tuple[int, str] | None = None,
    boot_item: bytes = b"",
) -> bytes:
    """Return a value for option 43 (PXE 2.1 section 2.3), END included.

    ``control`` is 43.6; ``prompt`` is 43.10, a timeout in seconds (0 boots the first item at once,
    255 waits for ever) and its text; ``boot_item`` is 43.71 as the client sent it. Raises
    PacketError when a list or text is too long for its option.
    """
    parts = []
    if control is not None:
        parts.append(_tlv(_DISCOVERY_CONTROL, bytes((control,))))
    if servers:
        parts.append(_tlv(_BOOT_SERVERS, b"".join(map(_server_entry, servers))))
    if menu:
        parts.append(_tlv(_BOOT_MENU, b"".join(map(_menu_entry, menu))))
    if prompt:
        parts.append(_tlv(_MENU_PROMPT, bytes((prompt[0],)) + prompt[1].encode("ascii")))
    if boot_item:
        parts.append(_tlv(_BOOT_ITEM, boot_item))
    return b"".join(parts) + b"\xff"


def _server_entry(server: BootServer) -> bytes:
    count = bytes((len(server.addresses),))
    return server.type.to_bytes(2, "big") + count + b"".join(server.addresses)


def _menu_entry(item: MenuItem) -> bytes:
    text = item.text.encode("ascii")
    if len(text) > 255:
        raise PacketError("a boot menu text is longer than 255 bytes")
    return item.type.to_bytes(2, "big") + bytes((len(text),)) + text


def _tlv(code: int, value: bytes) -> bytes:
    if len(value) > 255:
        raise PacketError(f"option 43.{code} is longer than 255 bytes")
    return bytes((code, len(value))) + value
