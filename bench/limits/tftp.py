"""``python -m bench.limits.tftp FILE``: one file for all, blksize 1428, windows in one call."""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

__all__ = ["main"]

BLOCK = 1428
_UDP_SEGMENT = 103  # linux/udp.h; the socket module does not name it


def main(path: str) -> None:
    """Serve until the process is ended."""
    content = Path(path).read_bytes()
    count = len(content) // BLOCK + 1
    packets = b"".join(
        struct.pack("!HH", 3, (number + 1) & 0xFFFF) + content[number * BLOCK :][:BLOCK]
        for number in range(count)
    )
    view, step = memoryview(packets), BLOCK + 4
    segment = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", step))]
    windows: dict[tuple[str, int], int] = {}
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sock.bind(("10.44.0.2", 69))
    receive, send = sock.recvfrom, sock.sendto
    while True:
        packet, client = receive(2048)
        if packet[1] == 4:
            block = packet[2] << 8 | packet[3]
            window = windows.get(client, 1)
            data = view[block * step : (block + window) * step]
            if len(data) > step:
                sock.sendmsg([data], segment, 0, client)
            elif data:
                send(data, client)
        elif packet[1] == 1:
            options = packet.split(b"\0")
            reply = b"\0\6blksize\x001428\0"
            if b"windowsize" in options:
                said = options[options.index(b"windowsize") + 1]
                windows[client] = int(said)
                reply += b"windowsize\0" + said + b"\0"
            send(reply, client)


if __name__ == "__main__":
    main(sys.argv[1])
