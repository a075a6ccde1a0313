"""Reads the captures."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram of a capture; ``at`` is seconds from the first."""

    at: float
    source: str
    destination: str
    payload: bytes


def read_pcap(path: Path) -> Iterator[Datagram]:
    """Read tcpdump's little-endian microsecond format: Ethernet, IPv4 without fragments, UDP."""
    data = path.read_bytes()
    assert struct.unpack_from("<IHH", data) == (0xA1B2C3D4, 2, 4)
    at, first = 24, None
    while at < len(data):
        seconds, micros, kept, length = struct.unpack_from("<IIII", data, at)
        assert kept == length
        frame = data[at + 16 : at + 16 + kept]
        at += 16 + kept
        assert frame[12:15] == b"\x08\x00\x45"
        assert frame[23] == socket.IPPROTO_UDP
        sport, dport, size = struct.unpack_from(">HHH", frame, 34)
        now = seconds + micros / 1e6
        first = now if first is None else first
        yield Datagram(
            now - first,
            f"{socket.inet_ntoa(frame[26:30])}:{sport}",
            f"{socket.inet_ntoa(frame[30:34])}:{dport}",
            frame[42 : 34 + size],
        )
