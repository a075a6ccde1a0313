"""What strangers do that is made to fill a log: each of it costs a server a line, if it lets it."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
from dataclasses import replace
from itertools import cycle, islice

from bootserve.wire.dhcp import build
from bootserve.wire.tftp_packets import Ack, Data, OptionAck, Request, parse
from tests.support.dhcp import DISCOVER
from tests.support.tftp import ClientSocket

__all__ = ["BIOS", "SERVER", "STUBBORN", "Pest"]

SERVER = "10.44.0.2"
STUBBORN, AT_ONCE = 200, 10
NBP = "undionly.kpxe"
BIOS = {**DISCOVER.options, 60: b"PXEClient:Arch:00000", 93: b"\0\0"}
FIRST = (
    b"GET /boot/02-00-00-44-00-60.ipxe HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G",
)


class Pest:
    """Does some of each at every round; ``node`` is the MAC of a node, which is no secret."""

    def __init__(self, node: str) -> None:
        self._node = bytes.fromhex(node.replace(":", ""))
        self._stubborn = cycle(range(STUBBORN))

    def discovers(self) -> list[bytes]:
        """Return DISCOVERs: of clients that take no offer, and in the node's name, in new words."""
        stubborn = [
            replace(DISCOVER, xid=number + 1, chaddr=b"\2\xaa\xcc\0\0" + bytes((number,)))
            for number in islice(self._stubborn, AT_ONCE)
        ]
        forged = [
            replace(DISCOVER, xid=random.getrandbits(32), chaddr=self._node) for _ in range(5)
        ]
        return [
            *(build(replace(one, options=BIOS)) for one in stubborn),
            *(build(replace(one, options={**BIOS, 12: random.randbytes(9)})) for one in forged),
        ]

    def connect(self) -> None:
        """Reset connections before they are accepted, and fetch an NBP, whole and its last byte."""
        for number in range(20):
            with socket.create_connection((SERVER, 8080), timeout=30) as sock:
                sock.send(FIRST[number % len(FIRST)])
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for headers in ({}, {"Range": "bytes=-1"}):
            connection = http.client.HTTPConnection(SERVER, 8080, timeout=30)
            connection.request("GET", f"/nbp/{NBP}", headers=headers)
            assert connection.getresponse().read() != b""
            connection.close()

    def fetch(self) -> None:
        """Fetch an NBP by TFTP, in great windows once they are granted."""
        with ClientSocket((SERVER, 69), "10.45.255.1") as sock:
            sock.settimeout(5)
            options = (("blksize", "1432"), ("windowsize", "64"))
            sock.put(Request(NBP, options=options).to_bytes())
            with contextlib.suppress(TimeoutError):  # what is lost is not asked for again
                granted = parse(sock.take())
                assert isinstance(granted, OptionAck)
                windowsize, complete = int(dict(granted.options)["windowsize"]), False
                sock.put(Ack(0).to_bytes())
                while not complete:
                    packet = parse(sock.take())
                    if isinstance(packet, Data):
                        complete = len(packet.payload) < 1432
                        if complete or packet.block % windowsize == 0:
                            sock.put(Ack(packet.block).to_bytes())
