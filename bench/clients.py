"""What drives a server, run in a namespace: ``python -m bench.clients KIND NODES COUNT``.

One request at a time, so that what is measured is the time of one answer. Prints JSON: seconds in
all and answers counted.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import sys
import time

from bench.fleet import mac_of
from bootserve.core.scripts import script_url

__all__ = ["ADDRESSES", "SERVER"]

SERVER = "10.44.0.2"
ADDRESSES = [f"10.99.0.{last}" for last in range(1, 101)]
"""Behind a router, as far as the server can see, so that one machine may speak for all nodes."""


def scripts(nodes: int, count: int) -> int:
    """Fetch ``count`` scripts, each a new boot; return how many were boots."""
    connections = [
        http.client.HTTPConnection(SERVER, 8080, timeout=10, source_address=(address, 0))
        for address in ADDRESSES
    ]
    for connection in connections:
        connection.connect()
    random.seed(1)
    booted = 0
    for number in range(count):
        connection = connections[number % len(connections)]
        connection.request("GET", script_url("", mac_of(random.randrange(nodes))))
        booted += b"bootserve.boot=" in connection.getresponse().read()
    return booted


def discovers(nodes: int, count: int) -> int:
    """Send ``count`` DISCOVERs of UEFI firmware, one at a time; return how many were answered."""
    random.seed(1)
    answered = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1\0")
        sock.settimeout(2)
        sock.bind(("0.0.0.0", 68))
        for number in range(count):
            packet = _discover(mac_of(random.randrange(nodes)), number + 1)
            sock.sendto(packet, ("255.255.255.255", 67))
            while sock.recv(2048)[4:8] != packet[4:8]:
                pass
            answered += 1
    return answered


def _discover(mac: str, xid: int) -> bytes:
    head = struct.pack("!BBBBIHH16x", 1, 1, 6, 0, xid, 0, 0x8000)
    chaddr = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0")
    options = (
        b"\x35\x01\x01"  # DISCOVER
        + b"\x3c\x20PXEClient:Arch:00007:UNDI:003016"
        + b"\x5d\x02\x00\x07\x5e\x03\x01\x03\x10"
        + b"\x61\x11\x00" + xid.to_bytes(16, "big") + b"\xff"
    )  # fmt: skip
    return head + chaddr + bytes(192) + b"\x63\x82\x53\x63" + options


def main() -> None:
    """Run one kind of load and print what it took."""
    kind, nodes, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    began = time.perf_counter()
    answers = {"scripts": scripts, "discovers": discovers}[kind](nodes, count)
    print(json.dumps({"seconds": time.perf_counter() - began, "answers": answers}))


if __name__ == "__main__":
    main()
