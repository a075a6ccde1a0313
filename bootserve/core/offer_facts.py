"""What an OFFER or ACK says about booting, as firmware reads it, and its options in words.

Sources: RFC 2132 and PXE 2.1 for the options; EDK2's ``PxeBcDhcp4.c`` for which of two places
counts; iPXE's ``src/include/ipxe/dhcp.h`` for option 175.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from typing import Final

from bootserve.errors import PacketError
from bootserve.wire.dhcp import (
    NO_ADDRESS,
    OPT_BOOTFILE,
    OPT_SERVER_ID,
    OPT_VENDOR,
    OPT_VENDOR_CLASS,
    DhcpPacket,
    MessageType,
    parse_options,
)
from bootserve.wire.pxe import BOOT_FILE_ONLY, HTTP_CLASS, OPT_IPXE, PXE_CLASS

__all__ = ["Offer", "in_words"]

_PXE10_OPTIONS: Final = frozenset(range(6, 11))
"""Any of 43.6 to 43.10 makes an offer one with PXE discovery (EDK2's PXE10)."""
_NO_PXEDHCP: Final = 0xB0
_PRIORITY: Final = 0x01
_DNS: Final = 6


@dataclass(frozen=True)
class Offer:
    """A reply of a DHCP server. ``source`` is the address and ``port`` the port it came from."""

    packet: DhcpPacket
    source: str
    port: int = 67

    @property
    def server_id(self) -> str:
        """Option 54 as an address; empty when it is missing or no address."""
        return _address(self.packet.options.get(OPT_SERVER_ID, b""))

    @property
    def server(self) -> str:
        """The address to call the server by: option 54, else where the packet came from."""
        return self.server_id or self.source

    @property
    def address(self) -> str:
        """The address offered to the client; empty in the offer of a proxy."""
        return _address(self.packet.yiaddr) if self.packet.yiaddr != NO_ADDRESS else ""

    @property
    def is_pxe(self) -> bool:
        """Whether option 60 says ``PXEClient``."""
        return self.packet.options.get(OPT_VENDOR_CLASS, b"").startswith(PXE_CLASS)

    @property
    def is_http(self) -> bool:
        """Whether option 60 says ``HTTPClient``."""
        return self.packet.options.get(OPT_VENDOR_CLASS, b"").startswith(HTTP_CLASS)

    @cached_property
    def vendor(self) -> Mapping[int, bytes]:
        """The options in option 43; none when there is no PXE class with them or they overrun."""
        value = self.packet.options.get(OPT_VENDOR, b"") if self.is_pxe else b""
        return _inner(value)

    @property
    def is_pxe10(self) -> bool:
        """Whether it carries PXE discovery options (43.6 to 43.10): no question on 4011 is due."""
        return bool(_PXE10_OPTIONS & self.vendor.keys())

    @property
    def is_boot_file_only(self) -> bool:
        """Whether it says (43.6 bit 3) that its boot file is to be loaded without any menu."""
        return bool(self.vendor.get(6, b"\0")[:1] >= b"\1" and self.vendor[6][0] & BOOT_FILE_ONLY)

    @property
    def has_menu(self) -> bool:
        """Whether it carries a boot menu (43.9)."""
        return bool(self.vendor.get(9))

    @property
    def boot_file(self) -> str:
        """The boot file's name or URL: option 67, else the header's field; empty when none."""
        value = self.packet.options.get(OPT_BOOTFILE) or self.packet.file
        return value.rstrip(b"\0").decode("utf-8", "backslashreplace")

    @property
    def next_server(self) -> str:
        """Where the boot file is: the header's siaddr; empty when it is zero."""
        return _address(self.packet.siaddr) if self.packet.siaddr != NO_ADDRESS else ""

    @property
    def file_server(self) -> str:
        """Whom EDK2 asks for the file: the list 43.8 with 43.6 bit 3, then siaddr, then 54."""
        listed = self.vendor.get(8, b"")
        if self.is_boot_file_only and len(listed) >= 7:
            return _address(listed[3:7])
        return self.next_server or self.server

    @property
    def has_dns(self) -> bool:
        """Whether it names a DNS server."""
        return bool(self.packet.options.get(_DNS))

    @cached_property
    def _ipxe(self) -> Mapping[int, bytes]:
        return _inner(self.packet.options.get(OPT_IPXE, b""))

    @property
    def forbids_proxy(self) -> bool:
        """Whether it tells iPXE to listen to no proxy (option 175.176)."""
        return any(self._ipxe.get(_NO_PXEDHCP, b""))

    @property
    def priority(self) -> int:
        """The priority that it asks iPXE for (option 175.1), signed; 0 when it says nothing."""
        return int.from_bytes(self._ipxe.get(_PRIORITY, b"\0"), "big", signed=True)


def _address(value: bytes) -> str:
    return str(IPv4Address(value)) if len(value) == 4 else ""


def _inner(value: bytes) -> Mapping[int, bytes]:
    try:
        return parse_options(value)
    except PacketError:
        return {}


def in_words(packet: DhcpPacket) -> tuple[tuple[str, str], ...]:
    """Return what ``packet`` says: pairs of what it is and its value, both for people."""
    return tuple((name, text) for name, text in _all_words(packet) if text)


def _all_words(packet: DhcpPacket) -> Iterator[tuple[str, str]]:
    yield "message", _message(packet)
    for name, value in (
        ("address offered (yiaddr)", packet.yiaddr),
        ("next server (siaddr)", packet.siaddr),
        ("relay (giaddr)", packet.giaddr),
    ):
        yield name, "" if value == NO_ADDRESS else _address(value)
    yield "server name (sname)", _text(packet.sname)
    yield "boot file (header)", _text(packet.file)
    for code, value in packet.options.items():
        if code == OPT_VENDOR:
            yield from _nested(43, value, _VENDOR)
        elif code == OPT_IPXE:
            yield from _nested(175, value, _IPXE)
        elif code != 53:
            name, read = _OPTIONS.get(code, ("", _guess))
            yield f"{name} ({code})" if name else f"option {code}", read(value) or "(empty)"


def _message(packet: DhcpPacket) -> str:
    try:
        return MessageType(packet.message_type).name
    except ValueError:
        return f"type {packet.message_type}" if packet.message_type else "BOOTP, no DHCP"


Reader = Callable[[bytes], str]


def _nested(
    code: int, value: bytes, names: Mapping[int, tuple[str, Reader]]
) -> Iterator[tuple[str, str]]:
    try:
        found = parse_options(value)
    except PacketError:
        yield f"option {code}", f"malformed: {value.hex()}"
        return
    for inner, content in found.items():
        name, read = names.get(inner, ("", _guess))
        shown = f"{name} ({code}.{inner})" if name else f"option {code}.{inner}"
        yield shown, read(content) or "(empty)"


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "backslashreplace")


def _addresses(value: bytes) -> str:
    if not value or len(value) % 4:
        return f"malformed: {value.hex()}"
    return ", ".join(_address(value[at : at + 4]) for at in range(0, len(value), 4))


def _number(value: bytes) -> str:
    return str(int.from_bytes(value, "big"))


def _seconds(value: bytes) -> str:
    return f"{int.from_bytes(value, 'big')} s"


def _flag(value: bytes) -> str:
    return "yes" if any(value) else "no"


def _hex(value: bytes) -> str:
    return value.hex()


def _guess(value: bytes) -> str:
    text = _text(value)
    return text if text and text.isprintable() and text.isascii() else value.hex()


def _control(value: bytes) -> str:
    if len(value) != 1:
        return f"malformed: {value.hex()}"
    meanings = (
        "no broadcast discovery",
        "no multicast discovery",
        "only the servers listed",
        "load the boot file, no menu",
    )
    said = [text for bit, text in enumerate(meanings) if value[0] & 1 << bit]
    return f"{value[0]}: {', '.join(said) or 'nothing'}"


def _boot_servers(value: bytes) -> str:
    servers, at = [], 0
    while at + 3 <= len(value):
        end = at + 3 + 4 * value[at + 2]
        kind = int.from_bytes(value[at : at + 2], "big")
        servers.append(f"type {kind}: {_addresses(value[at + 3 : end])}")
        at = end
    return "; ".join(servers)


def _menu(value: bytes) -> str:
    items, at = [], 0
    while at + 3 <= len(value):
        end = at + 3 + value[at + 2]
        items.append(
            f"type {int.from_bytes(value[at : at + 2], 'big')} {_text(value[at + 3 : end])!r}"
        )
        at = end
    return "; ".join(items)


def _prompt(value: bytes) -> str:
    wait = "for ever" if value[:1] == b"\xff" else f"{_number(value[:1])} s"
    return f"{_text(value[1:])!r}, {wait}"


_OPTIONS: Final[Mapping[int, tuple[str, Reader]]] = {
    1: ("netmask", _addresses),
    3: ("router", _addresses),
    6: ("DNS servers", _addresses),
    12: ("host name", _text),
    15: ("domain", _text),
    26: ("MTU", _number),
    28: ("broadcast address", _addresses),
    42: ("NTP servers", _addresses),
    51: ("lease", _seconds),
    54: ("server", _addresses),
    58: ("renewal", _seconds),
    59: ("rebinding", _seconds),
    60: ("class", _text),
    66: ("TFTP server name", _text),
    67: ("boot file", _text),
    82: ("relay agent", _hex),
    97: ("client UUID", _hex),
    119: ("search list", _hex),
    150: ("TFTP servers", _addresses),
}
_VENDOR: Final[Mapping[int, tuple[str, Reader]]] = {
    6: ("discovery control", _control),
    7: ("multicast discovery", _addresses),
    8: ("boot servers", _boot_servers),
    9: ("boot menu", _menu),
    10: ("menu prompt", _prompt),
    71: ("boot item", _hex),
}
_IPXE: Final[Mapping[int, tuple[str, Reader]]] = {
    _PRIORITY: ("priority", _number),
    8: ("keep SAN", _flag),
    _NO_PXEDHCP: ("listen to no proxy", _flag),
    0xBD: ("BIOS drive", _number),
}
