"""Every port of the server, bound at the start, while the right to bind is there."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface

from bootserve.errors import Unavailable
from bootserve.servers.dhcp import DHCP_PORTS
from bootserve.servers.dhcp import open_socket as open_dhcp
from bootserve.servers.tftp_sockets import open_requests
from bootserve.settings import Settings

__all__ = ["Ports", "SegmentPorts", "bind_ports"]

_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class SegmentPorts:
    """The sockets of one interface, bound to it and, but for DHCP's, to its ``network.ip``.

    ``dhcp`` are those of ``DHCP_PORTS``, ``tftp`` is the one for requests, and ``http`` listens.
    What comes before the servers run waits in them.
    """

    network: IPv4Interface
    dhcp: tuple[socket.socket, ...]
    tftp: socket.socket
    http: socket.socket


@dataclass(frozen=True, slots=True)
class Ports:
    """All sockets: each interface's, and the admin plane's on TCP unless it is turned off."""

    segments: Mapping[str, SegmentPorts]
    admin: socket.socket | None
    _undo: contextlib.ExitStack

    def close(self) -> None:
        """Close all that are open still."""
        self._undo.close()


def bind_ports(settings: Settings, networks: Mapping[str, IPv4Interface]) -> Ports:
    """Bind what ``settings`` name on each of ``networks``; raises Unavailable, with none bound."""
    with contextlib.ExitStack() as undo:
        port = settings.admin_port
        admin = undo.enter_context(_tcp_socket(settings.admin_address, port, "")) if port else None
        segments = {
            interface: _bind_segment(settings, interface, network, undo)
            for interface, network in networks.items()
        }
        return Ports(segments, admin, undo.pop_all())


def _bind_segment(
    settings: Settings, interface: str, network: IPv4Interface, undo: contextlib.ExitStack
) -> SegmentPorts:
    address = str(network.ip)
    http = undo.enter_context(_tcp_socket(address, settings.http_port, interface))
    tftp = undo.enter_context(open_requests(address, settings.tftp_port, interface))
    dhcp = tuple(undo.enter_context(open_dhcp(interface, port)) for port in DHCP_PORTS)
    return SegmentPorts(network, dhcp, tftp, http)


def _tcp_socket(address: str, port: int, interface: str) -> socket.socket:
    """Return a socket bound to ``address`` and ``port``, and to ``interface`` when it is named."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if interface:
            name = interface.encode() + b"\0"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise Unavailable(
            f"TCP port {port} of {address} cannot be had: {error.strerror}",
            hint=f"'ss -tlnp sport = :{port}' names who has it, such as another bootserve.",
        ) from None
    return sock
