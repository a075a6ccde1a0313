"""What the kernel says of the provisioning interface."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface

from bootserve.errors import InvalidInput, Unavailable

__all__ = ["address_of", "addresses_on"]

RTM_NEWADDR = 20
RTM_GETADDR = 22
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST_DUMP = 0x301
IFA_ADDRESS = 1
IFA_LOCAL = 2

_HEADER = struct.Struct("=IHHII")
_IFADDRMSG = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")


def address_of(interface: str, wanted: IPv4Address | None) -> IPv4Interface:
    """Return the address to advertise on ``interface``, with its prefix.

    That is ``wanted``, if given, else the interface's first IPv4 address. Raises InvalidInput for
    an interface that is not there, has no IPv4 address or does not have ``wanted``.
    """
    names = {name: index for index, name in socket.if_nameindex()}
    if interface not in names:
        raise InvalidInput(
            f"there is no interface {interface}", hint=f"There are: {', '.join(names)}."
        )
    found = addresses_on(names[interface])
    if not found:
        raise InvalidInput(
            f"interface {interface} has no IPv4 address",
            hint=f"Give it one: ip address add 10.0.0.2/24 dev {interface}.",
        )
    for one in found:
        if wanted in (None, one.ip):
            return one
    raise InvalidInput(
        f"interface {interface} does not have the address {wanted}",
        hint=f"It has {', '.join(str(one.ip) for one in found)}.",
    )


def addresses_on(index: int) -> list[IPv4Interface]:
    """Return the IPv4 addresses of the interface ``index`` with their prefixes, the first first.

    One netlink RTM_GETADDR dump (rtnetlink(7)). Raises Unavailable when the kernel refuses it.
    """
    request = _IFADDRMSG.pack(socket.AF_INET, 0, 0, 0, index)
    size = _HEADER.size + len(request)
    found: list[IPv4Interface] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(2)
        try:
            netlink.send(_HEADER.pack(size, RTM_GETADDR, NLM_F_REQUEST_DUMP, 1, 0) + request)
            while True:
                for kind, body in _messages(netlink.recv(1 << 16)):
                    if kind == NLMSG_DONE:
                        return found
                    if kind == NLMSG_ERROR:
                        raise Unavailable("the kernel does not list the interface's addresses")
                    if kind == RTM_NEWADDR:
                        found += _address(body, index)
        except OSError as error:
            raise Unavailable(f"the kernel does not list the addresses: {error}") from None


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[max(_HEADER.size, (length + 3) & ~3) :]


def _address(body: bytes, index: int) -> list[IPv4Interface]:
    """Return the address in an RTM_NEWADDR message, if it is of that interface."""
    family, prefix, _, _, of = _IFADDRMSG.unpack_from(body)
    if family != socket.AF_INET or of != index:
        return []
    attributes: dict[int, bytes] = {}
    rest = body[_IFADDRMSG.size :]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        attributes[kind] = rest[_ATTRIBUTE.size : length]
        rest = rest[max(_ATTRIBUTE.size, (length + 3) & ~3) :]
    # on a point-to-point link IFA_ADDRESS is the other end's
    own = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
    return [IPv4Interface((own, prefix))] if own else []
