"""``python -m bench.limits.dhcp``: every packet on port 67 is answered with one OFFER."""

from __future__ import annotations

import socket

__all__ = ["main"]

_TAIL = (
    bytes(192)
    + b"\x63\x82\x53\x63\x35\x01\x02\x36\x04\x0a\x2c\x00\x02\x3c\x09PXEClient"
    + b"\x2b\x04\x06\x01\x08\xff\x43\x09ipxe.efi\0\xff"
)


def main() -> None:
    """Serve until the process is ended."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1\0")
    sock.bind(("", 67))
    receive, send, everyone = sock.recvfrom, sock.sendto, ("255.255.255.255", 68)
    while True:
        packet, _ = receive(2048)
        send(b"\2" + packet[1:44] + _TAIL, everyone)


if __name__ == "__main__":
    main()
