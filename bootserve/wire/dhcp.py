"""DHCPv4 messages: bytes to :class:`DhcpPacket` and back (RFC 2131, 2132, 3396).

A packet holds its options as one mapping from code to value. What the wire format allows beyond
that is undone on reading: options that overflow into ``file`` and ``sname`` (option 52), values
in several pieces (RFC 3396), padding.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from bootserve.errors import PacketError
from bootserve.model.names import Mac

__all__ = [
    "BOOTREPLY",
    "BOOTREQUEST",
    "MAX_PACKET",
    "NO_ADDRESS",
    "OPT_ARCH",
    "OPT_BOOTFILE",
    "OPT_MESSAGE_TYPE",
    "OPT_RELAY_AGENT",
    "OPT_SERVER_ID",
    "OPT_USER_CLASS",
    "OPT_UUID",
    "OPT_VENDOR",
    "OPT_VENDOR_CLASS",
    "DhcpPacket",
    "MessageType",
    "build",
    "parse",
    "parse_options",
]

BOOTREQUEST: Final = 1
BOOTREPLY: Final = 2
MAX_PACKET: Final = 4096
"""The largest message read, in bytes; firmware announces 1,472 or less in option 57."""
NO_ADDRESS: Final = b"\0\0\0\0"

OPT_VENDOR: Final = 43
OPT_OVERLOAD: Final = 52
OPT_MESSAGE_TYPE: Final = 53
OPT_SERVER_ID: Final = 54
OPT_VENDOR_CLASS: Final = 60
OPT_BOOTFILE: Final = 67
OPT_USER_CLASS: Final = 77
OPT_RELAY_AGENT: Final = 82
OPT_ARCH: Final = 93
OPT_UUID: Final = 97

_PAD: Final = 0
_END: Final = 255
_COOKIE: Final = b"\x63\x82\x53\x63"
_HEADER: Final = struct.Struct(">BBBBIHH4s4s4s4s16s64s128s4s")
_OPTIONS_AT: Final = _HEADER.size
_MIN_PACKET: Final = 300  # RFC 1542 section 2.1: relays may drop anything shorter


class MessageType(IntEnum):
    """The values of option 53 (RFC 2132 section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


@dataclass(frozen=True, slots=True)
class DhcpPacket:
    """One DHCP message (RFC 2131 section 2).

    ``ciaddr``, ``yiaddr``, ``siaddr`` and ``giaddr`` are four bytes each, ``chaddr`` is ``hlen``
    bytes, ``sname`` and ``file`` are the bytes before their NUL. ``options`` maps codes 1 to 254
    to values in the order of the wire, and is never written after construction.
    """

    op: int
    xid: int
    chaddr: bytes
    options: Mapping[int, bytes] = field(default_factory=dict)
    htype: int = 1
    hops: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: bytes = NO_ADDRESS
    yiaddr: bytes = NO_ADDRESS
    siaddr: bytes = NO_ADDRESS
    giaddr: bytes = NO_ADDRESS
    sname: bytes = b""
    file: bytes = b""

    @property
    def message_type(self) -> int:
        """Option 53 as a number; 0 when it is absent or not one byte (plain BOOTP)."""
        value = self.options.get(OPT_MESSAGE_TYPE, b"")
        return value[0] if len(value) == 1 else 0

    @property
    def mac(self) -> Mac:
        """The Ethernet address in ``chaddr``; empty when it is none that a NIC sends from."""
        chaddr = self.chaddr
        if self.htype != 1 or len(chaddr) != 6 or chaddr[0] & 1 or chaddr == b"\0\0\0\0\0\0":
            return ""
        return chaddr.hex(":")


def parse(data: bytes) -> DhcpPacket:
    """Return the message in ``data``, the payload of one UDP datagram.

    A missing END option is accepted where the options end with the datagram: firmware that
    forgets it must still boot. Raises PacketError for anything that RFC 2131 rules out: fewer than
    240 bytes, more than MAX_PACKET, another cookie, a hardware address above 16 bytes, an option
    or overload (option 52) that does not fit.
    """
    size = len(data)
    if size < _OPTIONS_AT:
        raise PacketError(f"{size} bytes are too few for a DHCP message (240 at least)")
    if size > MAX_PACKET:
        raise PacketError(f"{size} bytes are too many for a DHCP message ({MAX_PACKET} at most)")
    (op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr,
     sname, file, cookie) = _HEADER.unpack_from(data)  # fmt: skip
    if cookie != _COOKIE:
        raise PacketError("the DHCP magic cookie is missing (plain BOOTP or another protocol)")
    if hlen > 16:
        raise PacketError(f"a hardware address of {hlen} bytes does not fit its 16-byte field")
    options: dict[int, bytes] = {}
    _read_options(data, _OPTIONS_AT, options)
    if OPT_OVERLOAD in options:
        sname, file = _read_overload(options, sname, file)
    return DhcpPacket(
        op, xid, chaddr[:hlen], options, htype, hops, secs, flags, ciaddr, yiaddr, siaddr, giaddr,
        sname.partition(b"\0")[0], file.partition(b"\0")[0],
    )  # fmt: skip


def parse_options(data: bytes) -> dict[int, bytes]:
    """Return the options in ``data``, code to value, pieces joined (also options 43 and 175).

    Raises PacketError when an option overruns ``data``.
    """
    options: dict[int, bytes] = {}
    _read_options(data, 0, options)
    return options


def _read_options(data: bytes, index: int, options: dict[int, bytes]) -> None:
    size = len(data)
    while index < size:
        code = data[index]
        if code == _PAD:
            index += 1
            continue
        if code == _END:
            return
        start = index + 2
        if start > size or (index := start + data[start - 1]) > size:
            raise PacketError(f"option {code} overruns the space it is in")
        if code in options:
            options[code] += data[start:index]  # RFC 3396 section 7
        else:
            options[code] = data[start:index]


def _read_overload(options: dict[int, bytes], sname: bytes, file: bytes) -> tuple[bytes, bytes]:
    """Read the options in ``file`` and ``sname`` (RFC 2132 section 9.3); return what is left."""
    overload = options.pop(OPT_OVERLOAD)
    if overload not in (b"\1", b"\2", b"\3"):
        raise PacketError(f"option 52 (overload) is {overload[:8].hex()}, not 1, 2 or 3")
    # RFC 3396 section 5: a value in pieces goes on in file first, then in sname.
    if overload[0] & 1:
        _read_options(file, 0, options)
        file = b""
    if overload[0] & 2:
        _read_options(sname, 0, options)
        sname = b""
    if OPT_OVERLOAD in options:
        raise PacketError("option 52 (overload) stands inside an overloaded field")
    return sname, file


def build(packet: DhcpPacket) -> bytes:
    """Return ``packet`` on the wire, options in the mapping's order, padded to 300 bytes.

    Values above 255 bytes are written in pieces (RFC 3396). Raises PacketError when a field does
    not fit its place, or for option codes 0, 52 and 255, which structure the wire format itself.
    """
    if len(packet.chaddr) > 16 or len(packet.sname) > 63 or len(packet.file) > 127:
        raise PacketError("chaddr holds 16 bytes, sname 63 and file 127")
    if (
        not len(packet.ciaddr)
        == len(packet.yiaddr)
        == len(packet.siaddr)
        == len(packet.giaddr)
        == 4
    ):
        raise PacketError("an IPv4 address is four bytes")  # struct would pad or cut it
    try:
        header = _HEADER.pack(
            packet.op, packet.htype, len(packet.chaddr), packet.hops, packet.xid, packet.secs,
            packet.flags, packet.ciaddr, packet.yiaddr, packet.siaddr, packet.giaddr,
            packet.chaddr, packet.sname, packet.file, _COOKIE,
        )  # fmt: skip
    except struct.error as error:
        raise PacketError(f"a field of the DHCP header is out of range: {error}") from None
    parts = [header]
    for code, value in packet.options.items():
        if not _PAD < code < _END or code == OPT_OVERLOAD:
            raise PacketError(f"option code {code} cannot carry a value")
        size = len(value)
        parts.append(bytes((code, size)) + value if size <= 255 else _in_pieces(code, value))
    parts.append(b"\xff")
    return b"".join(parts).ljust(_MIN_PACKET, b"\0")


def _in_pieces(code: int, value: bytes) -> bytes:
    pieces = (value[at : at + 255] for at in range(0, len(value), 255))
    return b"".join(bytes((code, len(piece))) + piece for piece in pieces)
