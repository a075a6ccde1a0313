"""A flood, made in a client's namespace: ``python -m tests.flood.storm SERVER_MAC ARTIFACT NODE``.

50,000 DISCOVERs of made-up MACs, 10,000 TFTP transfers that are answered and never acknowledged,
2,000 idle HTTP connections (every other one in the middle of a header, made anew when the server
closes it) and 50 slow readers of ARTIFACT. Says ``all`` when all of them are there. Then it goes
on, with more of these and with what :class:`Pest` does, until its standard input ends, and prints
as JSON how many DISCOVERs it has sent, how many transfers are half open, and how many of the slow
readers are still being served.
"""

from __future__ import annotations

import json
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
from tests.flood.pest import BIOS, SERVER, Pest
from tests.support.dhcp import DISCOVER
from tests.support.tftp import ClientSocket

DISCOVERS, HALF_OPEN, IDLE, SLOW = 50_000, 10_000, 2_000, 50
ROUND_SECONDS = 0.05
_XID, _CHADDR = 14 + 20 + 8 + 4, 14 + 20 + 8 + 28
_AT_ONCE = 200


def frame_of(server_mac: str, payload: bytes) -> bytes:
    """Return the frame of a broadcast that only the server gets."""
    return bytes(
        Ether(src="02:00:00:44:00:50", dst=server_mac)
        / IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=68, dport=67, chksum=0)
        / payload
    )


def frames(server_mac: str) -> Iterator[bytes]:
    """Yield frames of DISCOVERs, of one MAC each."""
    frame = bytearray(frame_of(server_mac, build(replace(DISCOVER, options=BIOS))))
    for number in random.sample(range(1 << 24), 1 << 20):
        frame[_CHADDR : _CHADDR + 6] = b"\2\xaa\xbb" + number.to_bytes(3, "big")
        frame[_XID : _XID + 4] = (number + 1).to_bytes(4, "big")
        yield bytes(frame)


class Storm:
    """What was made so far. ``sent`` counts DISCOVERs."""

    def __init__(self, server_mac: str, artifact: str, node: str) -> None:
        self._server_mac = server_mac
        self._artifact = artifact
        self._pest = Pest(node)
        self._frames = frames(server_mac)
        self._packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._packet.bind(("eth1", 0))
        self._request = Request("undionly.kpxe", options=(("blksize", "1432"),)).to_bytes()
        self.half_open: list[ClientSocket] = []
        self.readers: list[socket.socket] = []
        self._idle: dict[int, socket.socket] = {}
        self._closed = select.epoll()
        self.sent = 0

    def discover(self, count: int) -> None:
        for frame in islice(self._frames, count):
            self._send(frame)

    def _send(self, frame: bytes) -> None:
        self._packet.send(frame)
        self.sent += 1

    def open_transfers(self) -> None:
        """Ask from an address each, until all are answered."""
        for begin in range(0, HALF_OPEN, _AT_ONCE):
            asking: dict[int, ClientSocket] = {}
            answered = select.epoll()
            for number in range(begin, begin + _AT_ONCE):
                sock = ClientSocket((SERVER, 69), f"10.45.{number >> 8}.{number & 255}")
                answered.register(sock, select.EPOLLIN)
                asking[sock.fileno()] = sock
            self.discover(100)
            while asking:
                for sock in asking.values():
                    sock.put(self._request)
                end = time.monotonic() + 1
                while asking and time.monotonic() < end:
                    for fd, _ in answered.poll(0.1):
                        answered.unregister(fd)
                        self.half_open.append(asking.pop(fd))
            answered.close()

    def connect_idle(self) -> None:
        """Make as many idle connections as are missing."""
        for fd, _ in self._closed.poll(0, IDLE):
            self._closed.unregister(fd)
            self._idle.pop(fd).close()
        while len(self._idle) < IDLE:
            sock = socket.create_connection((SERVER, 8080), timeout=30)
            if len(self._idle) % 2:
                sock.send(b"GET /artifacts/sha256/0 HTTP/1.1\r\nHost: a\r\nX-Sl")
            self._closed.register(sock, select.EPOLLIN | select.EPOLLRDHUP)
            self._idle[sock.fileno()] = sock

    def read_slowly(self) -> None:
        for _ in range(SLOW):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(30)
            sock.connect((SERVER, 8080))
            sock.send(f"GET {self._artifact} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            sock.setblocking(False)
            self.readers.append(sock)

    def pester(self) -> None:
        for payload in self._pest.discovers():
            self._send(frame_of(self._server_mac, payload))
        self._pest.connect()
        self._pest.fetch()

    def go_on(self) -> None:
        """Go on until standard input ends."""
        again = cycle(self.half_open)
        while not select.select([sys.stdin], [], [], ROUND_SECONDS)[0]:
            self.discover(100)
            for sock in islice(again, 50):
                sock.put(self._request)
            self.pester()
            self.connect_idle()
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
    storm.open_transfers()
    storm.read_slowly()
    while storm.sent < DISCOVERS:
        storm.discover(800)
        storm.pester()
        time.sleep(ROUND_SECONDS)
    storm.connect_idle()
    print("all", flush=True)
    storm.go_on()
    made = {"discovers": storm.sent, "half_open": len(storm.half_open)}
    print(json.dumps({**made, "readers": len(storm.readers)}), flush=True)


if __name__ == "__main__":
    main()
