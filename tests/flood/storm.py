"""A flood, made in a client's namespace: ``python -m tests.flood.storm SERVER_MAC ARTIFACT``.

50,000 DISCOVERs of made-up MACs, 10,000 TFTP requests that are never acknowledged, 2,000 idle HTTP
connections (every other one in the middle of a header) and 50 slow readers of ARTIFACT. Says
``all`` when all of them are made, then goes on with DISCOVERs and requests until its standard input
ends, and prints how many DISCOVERs it has sent
and how many of the slow readers are still being served.
"""

from __future__ import annotations

import contextlib
import random
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from bootserve.wire.dhcp import build
from bootserve.wire.tftp_packets import Request
from tests.support.dhcp import DISCOVER

DISCOVERS, HALF_OPEN, IDLE, SLOW = 50_000, 10_000, 2_000, 50
SERVER = "10.44.0.2"
ADDRESSES = [f"10.44.0.{last}" for last in range(100, 110)]
ROUND_SECONDS = 0.05
_XID, _CHADDR = 14 + 20 + 8 + 4, 14 + 20 + 8 + 28


def frames(server_mac: str) -> Iterator[bytes]:
    """Yield DISCOVERs of one MAC each, in frames that only the server gets."""
    payload = build(replace(DISCOVER, options={**DISCOVER.options, 60: b"PXEClient:Arch:00000"}))
    frame = bytearray(
        bytes(
            Ether(src="02:00:00:44:00:50", dst=server_mac)
            / IP(src="0.0.0.0", dst="255.255.255.255")
            / UDP(sport=68, dport=67, chksum=0)
            / payload
        )
    )
    for number in random.sample(range(1 << 24), 1 << 20):
        frame[_CHADDR : _CHADDR + 6] = b"\2\xaa\xbb" + number.to_bytes(3, "big")
        frame[_XID : _XID + 4] = (number + 1).to_bytes(4, "big")
        yield bytes(frame)


class Storm:
    """What was made so far. ``sent`` counts DISCOVERs."""

    def __init__(self, server_mac: str, artifact: str) -> None:
        self._artifact = artifact
        self._frames = frames(server_mac)
        self._packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._packet.bind(("eth1", 0))
        self._request = Request("undionly.kpxe", options=(("blksize", "1432"),)).to_bytes()
        self._half_open: list[socket.socket] = []
        self.readers: list[socket.socket] = []
        self._idle: list[socket.socket] = []
        self.sent = 0

    def discover(self, count: int) -> None:
        for frame in islice(self._frames, count):
            self._packet.send(frame)
            self.sent += 1

    def half_open(self) -> None:
        for number, address in zip(range(HALF_OPEN), cycle(ADDRESSES), strict=False):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            sock.bind((address, 0))
            sock.connect((SERVER, 69))
            sock.send(self._request)
            self._half_open.append(sock)
            if number % 200 == 0:
                self.discover(100)

    def idle(self) -> None:
        for number in range(IDLE):
            sock = socket.create_connection((SERVER, 8080), timeout=30)
            if number % 2:
                sock.send(b"GET /artifacts/sha256/0 HTTP/1.1\r\nHost: a\r\nX-Sl")
            self._idle.append(sock)

    def slow(self) -> None:
        for _ in range(SLOW):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(30)
            sock.connect((SERVER, 8080))
            sock.send(f"GET {self._artifact} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            sock.setblocking(False)
            self.readers.append(sock)

    def go_on(self) -> None:
        """Go on until standard input ends."""
        again = cycle(self._half_open)
        while not select.select([sys.stdin], [], [], ROUND_SECONDS)[0]:
            self.discover(100)
            for sock in islice(again, 50):
                with contextlib.suppress(OSError):  # an ERROR of the server's, read by nobody
                    sock.send(self._request)
            self.readers = [sock for sock in self.readers if reads(sock)]


def reads(sock: socket.socket) -> bool:
    """Read a little; return whether there may be more."""
    try:
        return sock.recv(64) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    storm = Storm(*sys.argv[1:])
    storm.half_open()
    storm.idle()
    storm.slow()
    while storm.sent < DISCOVERS:
        storm.discover(400)
        time.sleep(ROUND_SECONDS)
    print("all", flush=True)
    storm.go_on()
    print(storm.sent, len(storm.readers), flush=True)


if __name__ == "__main__":
    main()
