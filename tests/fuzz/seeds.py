"""What a run begins with: packets that real firmware sent, and a few of every other kind."""

from __future__ import annotations

import struct
from pathlib import Path

__all__ = ["captured", "datagrams", "session"]

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
_FILE_HEADER, _RECORD_HEADER, _UDP_HEADERS = 24, 16, 42


def captured() -> list[tuple[int, bytes]]:
    """Return (destination port, payload) of every UDP datagram in the captures."""
    found = []
    for path in sorted(CAPTURES.glob("*.pcap")):
        data, at = path.read_bytes(), _FILE_HEADER
        while at < len(data):
            kept = struct.unpack_from("<I", data, at + 8)[0]
            frame = data[at + _RECORD_HEADER : at + _RECORD_HEADER + kept]
            at += _RECORD_HEADER + kept
            found.append((struct.unpack_from(">H", frame, 36)[0], frame[_UDP_HEADERS:]))
    return found


def datagrams(*ports: int) -> list[bytes]:
    """Return the captured payloads that went to one of ``ports``."""
    return [payload for port, payload in captured() if port in ports]


def session(*packets: bytes) -> bytes:
    """Return ``packets`` as one input, each behind its length (two bytes, big end first)."""
    return b"".join(struct.pack(">H", len(packet)) + packet for packet in packets)
