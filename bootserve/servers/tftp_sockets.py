"""TFTP's sockets: the one for requests, and those that are one transfer's each."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct

from bootserve.errors import Unavailable
from bootserve.servers.tftp_events import Client

__all__ = ["mtu_of", "open_requests", "open_transfer"]

_RECEIVE_BUFFER = 4 << 20
_SEND_BUFFER = 1 << 20
"""Bytes that may wait in the kernel: more of them would wait longer than clients do."""
_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>; the socket module does not name it
_SIOCGIFMTU = 0x8921
_IFNAMSIZ = 16


def open_requests(address: str, port: int, interface: str | None) -> socket.socket:
    """Return a socket bound to ``address`` and ``interface``, for requests; raises Unavailable."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if interface is not None:
            _bind_to_interface(sock, interface.encode() + b"\0")
        _set_receive_buffer(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise _unavailable(error, address, port, interface) from error
    return sock


def open_transfer(requests: socket.socket, client: Client) -> socket.socket:
    """Return a socket for a transfer to ``client``, at a port that the kernel draws.

    It has the address and the interface of ``requests``, and nothing comes to it but what
    ``client`` sends. Linux draws from ``ip_local_port_range``, some 28,000 ports, by its random
    numbers (``udp_lib_get_port``). Raises OSError: no route, or no descriptor left.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        interface = requests.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _IFNAMSIZ)
        if interface.rstrip(b"\0"):
            _bind_to_interface(sock, interface)  # which needs no right since Linux 5.7
        sock.bind((requests.getsockname()[0], 0))
        sock.connect(client)
    except OSError:
        sock.close()
        raise
    return sock


def mtu_of(sock: socket.socket, interface: str | None) -> int:
    """Return the MTU of ``interface`` in bytes, Ethernet's without one."""
    if interface is None:
        return 1500
    request = struct.pack("16si12x", interface.encode(), 0)
    answer = fcntl.ioctl(sock, _SIOCGIFMTU, request)
    return int(struct.unpack_from("16si", answer)[1])


def _bind_to_interface(sock: socket.socket, name: bytes) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)


def _unavailable(error: OSError, address: str, port: int, interface: str | None) -> Unavailable:
    where = f"UDP port {port} (TFTP) of {address}"
    if error.errno == errno.EADDRINUSE:
        return Unavailable(
            f"{where} is taken",
            hint="Another TFTP server may have it: dnsmasq, tftpd-hpa, atftpd or another "
            f"bootserve. 'ss -ulpn sport = :{port}' names it.",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return Unavailable(f"{where} cannot be served: this machine has no such address")
    if error.errno == errno.ENODEV:
        return Unavailable(f"there is no interface {interface} to serve TFTP on")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Unavailable(
            f"{where} may not be used by this user",
            hint="Run as root, or with CAP_NET_BIND_SERVICE and CAP_NET_RAW.",
        )
    return Unavailable(f"{where} cannot be served: {error.strerror}")


def _set_receive_buffer(sock: socket.socket) -> None:
    """Make room for what a thousand nodes send at once: the system's limit is for some hundred
    packets, and may be exceeded with CAP_NET_ADMIN."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
