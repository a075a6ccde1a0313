"""Asks the kernel which MAC address an IPv4 neighbour has."""

from __future__ import annotations

import socket
import struct

from bootserve.model.names import Mac

__all__ = ["neighbour_mac"]

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


def neighbour_mac(interface: str, address: str) -> Mac | None:
    """Return the MAC of ``address`` on ``interface``, or None when the kernel knows none.

    One netlink RTM_GETNEIGH (rtnetlink(7), kernel 5.0 and later), some 15 µs. None is also the
    answer for an address behind a router, whose packets carry the router's MAC.
    """
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        return None
    target = _ATTRIBUTE.pack(8, NDA_DST) + socket.inet_aton(address)
    body = _NDMSG.pack(socket.AF_INET, 0, 0, index, 0, 0, 0) + target
    message = _HEADER.pack(_HEADER.size + len(body), RTM_GETNEIGH, NLM_F_REQUEST, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(0.2)
        netlink.send(message)
        try:
            reply = netlink.recv(4096)
        except OSError:
            return None
    return _parse(reply)


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
