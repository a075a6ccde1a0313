"""A small server that does what it is told, also wrongly, and counts: the generators' opposite.

``python odd_server.py KIND FAULT FILE`` serves until SIGTERM, then prints what it counted as JSON.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import FrameType

BLOCK = 1428
COUNTS: Counter[str] = Counter()
VISITS: dict[str, list[str]] = {}


def tftp(fault: str, content: bytes) -> None:
    """One port for all; ``refuse``, ``deaf``, ``flip`` (a byte), ``short``, ``lossy``."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("10.44.0.2", 69))
    last = len(content) // BLOCK + 1
    for number in range(1, sys.maxsize):
        packet, client = sock.recvfrom(2048)
        if fault == "deaf" or (fault == "lossy" and number % 7 == 0):
            continue
        opcode, block = struct.unpack("!HH", packet[:4])
        if opcode == 1 and fault == "refuse":
            sock.sendto(b"\0\5\0\2no such thing\0", client)
        elif opcode == 1:
            sock.sendto(b"\0\6blksize\x001428\0", client)
        elif opcode == 4 and block < last:
            data = content[block * BLOCK : (block + 1) * BLOCK]
            sock.sendto(struct.pack("!HH", 3, block + 1) + data, client)
        elif opcode == 4 and block == last:
            COUNTS["transfers"] += 1


def dhcp(fault: str) -> None:
    """An OFFER for each DISCOVER; ``ack``, ``mac``, ``xid`` are wrong, ``deaf`` drops the third."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1\0")
    sock.bind(("", 67))
    while True:
        packet = bytearray(sock.recv(2048))
        COUNTS["discovers"] += 1
        COUNTS[packet[28:34].hex(":")] += 1
        if fault == "deaf" and COUNTS["discovers"] == 3:
            continue
        packet[0] = 2
        packet[4] ^= 255 if fault == "xid" else 0
        packet[33] ^= 1 if fault == "mac" else 0
        kind = b"\5" if fault == "ack" else b"\2"
        options = b"\x35\1" + kind + b"\x36\4\x0a\x2c\0\2\x3c\x09PXEClient\xff"
        sock.sendto(bytes(packet[:240]) + options, ("255.255.255.255", 68))
        COUNTS["offers"] += 1


class Pages(BaseHTTPRequestHandler):
    """Answers with the file; every tenth time, or once, as ``fault`` says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    fault = ""
    content = b""

    def do_GET(self) -> None:
        COUNTS["requests"] += 1
        if found := re.search(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", self.path):
            VISITS.setdefault(found[0], []).append(self.client_address[0])
        wrong = COUNTS["requests"] % 10 == 0
        if self.fault == "stall" and COUNTS["requests"] == 50:
            time.sleep(0.5)
        body = self.content
        if self.fault == "content" and wrong:
            body = b"another"
        self.send_response(500 if self.fault == "status" and wrong else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.fault == "cut" and wrong:
            self.wfile.write(body[:-1])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(body)
        COUNTS["answers"] += 1

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def stop(number: int, frame: FrameType | None) -> None:
    twice = sum(a == b for seen in VISITS.values() for a, b in pairwise(seen))
    print(json.dumps({**COUNTS, "nodes": len(VISITS), "same_address_twice": twice}), flush=True)
    sys.exit(0)


def main(kind: str, fault: str, path: str) -> None:
    signal.signal(signal.SIGTERM, stop)
    content = Path(path).read_bytes()
    if fault == "flip":
        content = content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
    elif fault == "short":
        content = content[:-1]
    if kind == "tftp":
        tftp(fault, content)
    elif kind == "dhcp":
        dhcp(fault)
    else:
        Pages.fault, Pages.content = fault, content
        ThreadingHTTPServer(("10.44.0.2", 8080), Pages).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
