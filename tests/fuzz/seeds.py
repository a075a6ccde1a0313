"""What a run begins with: packets that real firmware sent, and a few of every other kind."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

__all__ = ["captured", "conversations", "datagrams", "pieces", "session"]

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
_FILE_HEADER, _RECORD_HEADER, _UDP_HEADERS = 24, 16, 42


def conversations() -> list[list[tuple[int, bytes]]]:
    """Return (destination port, payload) of every UDP datagram, in a list for each capture."""
    found = []
    for path in sorted(CAPTURES.glob("*.pcap")):
        said = []
        data, at = path.read_bytes(), _FILE_HEADER
        while at < len(data):
            kept = struct.unpack_from("<I", data, at + 8)[0]
            frame = data[at + _RECORD_HEADER : at + _RECORD_HEADER + kept]
            at += _RECORD_HEADER + kept
            said.append((struct.unpack_from(">H", frame, 36)[0], frame[_UDP_HEADERS:]))
        found.append(said)
    return found


def captured() -> list[tuple[int, bytes]]:
    """Return (destination port, payload) of every UDP datagram in the captures."""
    return [one for said in conversations() for one in said]


def datagrams(*ports: int) -> list[bytes]:
    """Return the captured payloads that went to one of ``ports``."""
    return [payload for port, payload in captured() if port in ports]


def pieces(data: bytes) -> Iterator[bytes]:
    """Yield the packets of an input that :func:`session` could have made; what is cut is whole."""
    at = 0
    while at + 2 <= len(data):
        size = struct.unpack_from(">H", data, at)[0]
        yield data[at + 2 : at + 2 + size]
        at += 2 + size


def session(*packets: bytes) -> bytes:
    """Return ``packets`` as one input, each behind its length (two bytes, big end first)."""
    return b"".join(struct.pack(">H", len(packet)) + packet for packet in packets)
