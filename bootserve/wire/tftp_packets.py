"""TFTP packets: bytes to frozen types and back. No policy, no state.

The formats are those of RFC 1350 section 5 and RFC 2347. Names and values are decoded as Latin-1,
which loses no byte: what a name may hold is for the server to judge, not for the codec.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from bootserve.errors import PacketError

__all__ = [
    "MAX_REQUEST",
    "Ack",
    "Data",
    "Error",
    "ErrorCode",
    "Opcode",
    "OptionAck",
    "Options",
    "Packet",
    "Request",
    "ack_block",
    "parse",
]

MAX_REQUEST = 512
"""The largest request in bytes (RFC 2347: "the maximum size of a request packet is 512 octets")."""

Options: TypeAlias = tuple[tuple[str, str], ...]
"""Options in the order of the packet: (name in lower case, value as sent)."""

_OPCODE = struct.Struct("!H")
_TWO_WORDS = struct.Struct("!HH")


class Opcode(IntEnum):
    """What a packet is (RFC 1350 section 5, RFC 2347)."""

    READ = 1
    WRITE = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class ErrorCode(IntEnum):
    """What an ERROR says (RFC 1350 appendix, RFC 2347)."""

    UNDEFINED = 0
    NOT_FOUND = 1
    ACCESS = 2
    DISK_FULL = 3
    ILLEGAL = 4
    UNKNOWN_TRANSFER = 5
    EXISTS = 6
    NO_USER = 7
    OPTIONS = 8


@dataclass(frozen=True, slots=True)
class Request:
    """RRQ or, when ``write`` is set, WRQ. ``mode`` is in lower case."""

    filename: str
    mode: str = "octet"
    options: Options = ()
    write: bool = False

    def to_bytes(self) -> bytes:
        """Return the packet; raises PacketError when a string holds a NUL or no Latin-1."""
        opcode = Opcode.WRITE if self.write else Opcode.READ
        return _OPCODE.pack(opcode) + _strings((self.filename, self.mode, *_flat(self.options)))


@dataclass(frozen=True, slots=True)
class Data:
    """DATA: a block number modulo 65,536 and the block's bytes."""

    block: int
    payload: bytes

    def to_bytes(self) -> bytes:
        """Return the packet."""
        return _TWO_WORDS.pack(Opcode.DATA, self.block) + self.payload


@dataclass(frozen=True, slots=True)
class Ack:
    """ACK of a block number modulo 65,536."""

    block: int

    def to_bytes(self) -> bytes:
        """Return the packet."""
        return _TWO_WORDS.pack(Opcode.ACK, self.block)


@dataclass(frozen=True, slots=True)
class Error:
    """ERROR. ``code`` is any 16-bit number: clients send codes of their own."""

    code: int
    message: str = ""

    def to_bytes(self) -> bytes:
        """Return the packet; raises PacketError when the message holds a NUL or no Latin-1."""
        return _TWO_WORDS.pack(Opcode.ERROR, self.code) + _strings((self.message,))


@dataclass(frozen=True, slots=True)
class OptionAck:
    """OACK (RFC 2347): the options that the server accepts, with their values."""

    options: Options

    def to_bytes(self) -> bytes:
        """Return the packet; raises PacketError when a string holds a NUL or no Latin-1."""
        return _OPCODE.pack(Opcode.OACK) + _strings(_flat(self.options))


Packet: TypeAlias = Request | Data | Ack | Error | OptionAck


def ack_block(data: bytes) -> int:
    """Return the block number when ``data`` is an ACK, otherwise -1: the serving path's test.

    Bytes after the fourth are ignored, as :func:`parse` ignores them.
    """
    if len(data) >= 4 and data[1] == Opcode.ACK and not data[0]:
        return data[2] << 8 | data[3]
    return -1


def parse(data: bytes) -> Packet:
    """Return the packet in ``data``; raises PacketError when it is none."""
    if len(data) < 2:
        raise PacketError("the datagram is too short to be TFTP")
    (opcode,) = _OPCODE.unpack_from(data)
    if opcode in (Opcode.READ, Opcode.WRITE):
        return _parse_request(data, write=opcode == Opcode.WRITE)
    if opcode == Opcode.OACK:
        return OptionAck(_pairs(_split(data[2:], "an option")))
    if opcode not in (Opcode.DATA, Opcode.ACK, Opcode.ERROR):
        raise PacketError(f"{opcode} is not a TFTP operation")
    if len(data) < 4:
        raise PacketError("the packet ends within its header")
    number = data[2] << 8 | data[3]
    if opcode == Opcode.DATA:
        return Data(number, data[4:])
    if opcode == Opcode.ACK:
        return Ack(number)
    # Firmware is seen to leave out the message's NUL, or the message: an ERROR ends a transfer
    # whatever it says.
    return Error(number, data[4:].partition(b"\0")[0].decode("latin-1"))


def _parse_request(data: bytes, *, write: bool) -> Request:
    if len(data) > MAX_REQUEST:
        raise PacketError(f"the request is longer than {MAX_REQUEST} bytes")
    filename, terminated, rest = data[2:].partition(b"\0")
    if not terminated:
        raise PacketError("the file name is not terminated")
    mode, terminated, rest = rest.partition(b"\0")
    if not terminated:
        raise PacketError("the transfer mode is missing or not terminated")
    return Request(
        filename.decode("latin-1"),
        mode.decode("latin-1").lower(),
        _pairs(_split(rest, "an option")),
        write,
    )


def _split(data: bytes, what: str) -> list[str]:
    """Return the NUL-terminated strings in ``data``."""
    if not data:
        return []
    *strings, rest = data.split(b"\0")
    if rest:
        raise PacketError(f"{what} is not terminated")
    return [string.decode("latin-1") for string in strings]


def _pairs(strings: list[str]) -> Options:
    """Return names and values as pairs, up to an empty name: some clients pad with NULs.

    Of an option given twice, which RFC 2347 forbids, the first one counts.
    """
    pairs: dict[str, str] = {}
    for i in range(0, len(strings), 2):
        name = strings[i].lower()
        if not name:
            break
        if i + 1 == len(strings):
            raise PacketError("an option has no value")
        pairs.setdefault(name, strings[i + 1])
    return tuple(pairs.items())


def _flat(options: Options) -> Iterable[str]:
    return (text for pair in options for text in pair)


def _strings(texts: Iterable[str]) -> bytes:
    """Return ``texts`` in Latin-1, each with its NUL."""
    return b"".join([_encoded(text) for text in texts])


def _encoded(text: str) -> bytes:
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        data = b"\0"
    if b"\0" in data:
        raise PacketError(f"{text[:40]!r} cannot be said in a TFTP packet")
    return data + b"\0"
