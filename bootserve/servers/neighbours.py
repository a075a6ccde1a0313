"""Asks the kernel which MAC address an IPv4 neighbour has."""

from __future__ import annotations

import errno
import socket
import struct

from bootserve.model.names import Mac

__all__ = ["Neighbours"]

NLMSG_ERROR = 2
RTM_GETNEIGH = 30
RTM_NEWNEIGH = 28
NLM_F_REQUEST = 1
NDA_DST = 1
NDA_LLADDR = 2
# <linux/neighbour.h>: NUD_INCOMPLETE and NUD_FAILED entries carry no address to trust.
NUD_UNUSABLE = 0x01 | 0x20

_HEADER = struct.Struct("=IHHII")
_NDMSG = struct.Struct("=BBHiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")


class Neighbours:
    """The neighbour table of one interface, which need not be there yet or may be made anew."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._index = 0
        self._sequence = 0
        self._netlink: socket.socket | None = None

    def mac(self, address: str) -> Mac | None:
        """Return the MAC of the IPv4 ``address``, or None when the kernel knows none.

        One netlink RTM_GETNEIGH (rtnetlink(7), kernel 5.0 and later) over a socket that is kept:
        in a boot storm this is asked for every script. None is also the answer for an address
        behind a router, whose packets carry the router's MAC.
        """
        try:
            reply = self._ask(address)
            if _error(reply) == -errno.ENODEV:
                self._index = 0  # the interface was made anew, and has another index
                reply = self._ask(address)
        except OSError:
            self.close()
            return None
        return _parse(reply)

    def _ask(self, address: str) -> bytes:
        netlink = self._netlink = self._netlink or _open()
        self._index = self._index or socket.if_nametoindex(self._interface)
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        target = _ATTRIBUTE.pack(8, NDA_DST) + socket.inet_aton(address)
        body = _NDMSG.pack(socket.AF_INET, 0, 0, self._index, 0, 0, 0) + target
        length = _HEADER.size + len(body)
        netlink.send(_HEADER.pack(length, RTM_GETNEIGH, NLM_F_REQUEST, self._sequence, 0) + body)
        while True:  # the answer is there when send returns
            reply = netlink.recv(4096)
            if _HEADER.unpack_from(reply)[3] == self._sequence:
                return reply

    def close(self) -> None:
        """Close the socket; the next question opens another."""
        if self._netlink is not None:
            self._netlink.close()
        self._netlink, self._index = None, 0


def _open() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    netlink.setblocking(False)
    return netlink


def _error(reply: bytes) -> int:
    """Return the negative errno that ``reply`` carries; 0 for an answer."""
    _, kind, _, _, _ = _HEADER.unpack_from(reply)
    return int(_ERROR.unpack_from(reply, _HEADER.size)[0]) if kind == NLMSG_ERROR else 0


def _parse(reply: bytes) -> Mac | None:
    _, kind, _, _, _ = _HEADER.unpack_from(reply)
    if kind != RTM_NEWNEIGH:
        return None
    _, _, _, _, state, _, _ = _NDMSG.unpack_from(reply, _HEADER.size)
    if state & NUD_UNUSABLE:
        return None
    offset = _HEADER.size + _NDMSG.size
    while offset + _ATTRIBUTE.size <= len(reply):
        length, attribute = _ATTRIBUTE.unpack_from(reply, offset)
        if length < _ATTRIBUTE.size:
            return None
        if attribute == NDA_LLADDR and length == _ATTRIBUTE.size + 6:
            return reply[offset + 4 : offset + 10].hex(":")
        offset += (length + 3) & ~3
    return None
