"""What the kernel says of the provisioning interface."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from ipaddress import IPv4Address, IPv4Interface

from bootserve.errors import InvalidInput

__all__ = ["address_of"]

SIOCGIFADDR = 0x8915
SIOCGIFNETMASK = 0x891B


def address_of(interface: str, wanted: IPv4Address | None) -> IPv4Interface:
    """Return the address to advertise on ``interface``, with its prefix.

    That is ``wanted``, if given, else the interface's first IPv4 address (netdevice(7)). Raises
    InvalidInput for an interface that is not there or has no IPv4 address.
    """
    first = _query(interface, SIOCGIFADDR)
    if first is None:
        names = ", ".join(name for _, name in socket.if_nameindex())
        if interface not in names.split(", "):
            raise InvalidInput(f"there is no interface {interface}", hint=f"There are: {names}.")
        raise InvalidInput(
            f"interface {interface} has no IPv4 address",
            hint=f"Give it one: ip address add 10.0.0.2/24 dev {interface}.",
        )
    mask = _query(interface, SIOCGIFNETMASK) or IPv4Address("255.255.255.255")
    return IPv4Interface(f"{wanted or first}/{mask}")


def _query(interface: str, request: int) -> IPv4Address | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        packed = struct.pack("256s", os.fsencode(interface)[:15])
        try:
            answer = fcntl.ioctl(probe, request, packed)
        except OSError:
            return None
    return IPv4Address(answer[20:24])
