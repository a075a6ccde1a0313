"""Small servers in a namespace that do what they are told, also wrongly, and count.

They are what the load generators of ``bench/`` are tested against. Each is a thread of this
process: only its socket is in the namespace.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import TypeVar

from vm_harness.net import NETNS, Namespace

__all__ = ["ADDRESS", "BLOCK", "Counts", "dhcp", "http", "tftp"]

ADDRESS = "10.44.0.2"
BLOCK = 1428
Counts = Counter[str]
Made = TypeVar("Made")
_CLONE_NEWNET = 0x40000000


def _inside(namespace: Namespace, make: Callable[[], Made]) -> Made:
    """Return what ``make`` returns in a thread that is in ``namespace``; sockets stay there."""
    made: list[Made] = []

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with (NETNS / namespace.name).open() as handle:
            if libc.setns(handle.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        made.append(make())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]


@contextlib.contextmanager
def _answering(
    namespace: Namespace, address: str, port: int, answer: Callable[[bytes], list[bytes]]
) -> Iterator[None]:
    """Serve UDP during the block: ``answer`` makes the replies, broadcast on the wildcard."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1\0")
        sock.settimeout(0.05)
        sock.bind((address, port))
        return sock

    end = threading.Event()

    def serve() -> None:
        while True:
            try:
                packet, client = sock.recvfrom(2048)
            except TimeoutError:  # what was sent before the end is still answered and counted
                if end.is_set():
                    return
                continue
            to = client if address else ("255.255.255.255", 68)
            for reply in answer(packet):
                sock.sendto(reply, to)

    with _inside(namespace, make) as sock:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


@contextlib.contextmanager
def tftp(namespace: Namespace, fault: str, content: bytes) -> Iterator[Counts]:
    """Serve ``content``; faults: ``refuse``, ``deaf``, ``flip`` (a byte), ``short``, ``lossy``."""
    counts: Counts = Counter()
    if fault == "flip":
        content = content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
    elif fault == "short":
        content = content[:-1]
    last = len(content) // BLOCK + 1

    def answer(packet: bytes) -> list[bytes]:
        counts["packets"] += 1
        opcode, block = struct.unpack("!HH", packet[:4])
        if fault == "deaf" or (fault == "lossy" and counts["packets"] % 7 == 0):
            return []
        if opcode == 1:
            return [b"\0\5\0\2no such thing\0" if fault == "refuse" else b"\0\6blksize\x001428\0"]
        if block < last:
            data = content[block * BLOCK : (block + 1) * BLOCK]
            return [struct.pack("!HH", 3, block + 1) + data]
        counts["transfers"] += 1
        return []

    with _answering(namespace, ADDRESS, 69, answer):
        yield counts


@contextlib.contextmanager
def dhcp(namespace: Namespace, fault: str) -> Iterator[Counts]:
    """Offer to each DISCOVER; ``ack``, ``mac``, ``xid`` are wrong, ``deaf`` drops the third.

    Counts DISCOVERs, by MAC too, and offers.
    """
    counts: Counts = Counter()

    def answer(data: bytes) -> list[bytes]:
        packet = bytearray(data)
        counts["discovers"] += 1
        counts[packet[28:34].hex(":")] += 1
        if fault == "deaf" and counts["discovers"] == 3:
            return []
        packet[0] = 2
        packet[4] ^= 255 if fault == "xid" else 0
        packet[33] ^= 1 if fault == "mac" else 0
        kind = b"\5" if fault == "ack" else b"\2"
        counts["offers"] += 1
        options = b"\x35\1" + kind + b"\x36\4\x0a\x2c\0\2\x3c\x09PXEClient\xff"
        return [bytes(packet[:240]) + options]

    with _answering(namespace, "", 67, answer):
        yield counts


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that go away, which is what they do after a wrong answer."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    fault = ""
    content = b""
    lock = threading.Lock()
    counts: Counts
    visits: dict[str, list[str]]

    def do_GET(self) -> None:
        with self.lock:
            self.counts["requests"] += 1
            number = self.counts["requests"]
            wrong = number % 10 == 0 and self.fault in ("status", "content", "cut")
            self.counts["answers"] += not wrong
        self.visits.setdefault(self.path, []).append(self.client_address[0])
        if self.fault == "stall" and number == 50:
            time.sleep(0.5)
        body = b"another" if self.fault == "content" and wrong else self.content
        self.send_response(500 if self.fault == "status" and wrong else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.fault == "cut" and wrong:
            self.wfile.write(body[:-1])
            self.wfile.flush()
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def http(namespace: Namespace, fault: str, content: bytes) -> Iterator[Counts]:
    """Answer every GET with ``content``; every tenth is wrong: ``status``, ``content``, ``cut``.

    ``stall`` holds up one for half a second. Counts requests, whole answers, and, once the
    block is over, requests for each path and how often one was asked for twice in a row from one
    address.
    """
    counts: Counts = Counter()
    visits: dict[str, list[str]] = {}
    members = {"fault": fault, "content": content, "counts": counts, "visits": visits}
    pages = type("Pages", (_Pages,), members)
    server = _inside(namespace, lambda: _Server((ADDRESS, 8080), pages))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield counts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    counts.update({path: len(all) for path, all in visits.items()})
    counts["same address twice"] = sum(a == b for all in visits.values() for a, b in pairwise(all))
