"""The TFTP server: sockets that all transfers share, and a process of its own that serves them.

The sockets are bound here, where the right to is, and kept: packets that come while a worker is
started again wait in them.

Requests come to one port. A transfer to an address that has proven itself leaves from there too,
so that many datagrams can be taken and sent at a time: OVMF, iPXE, tftp-hpa, atftp and curl take
that as well as a port to itself, which RFC 1350 section 4 gives each. A transfer to another leaves
from one of some other ports that is drawn for it, so that nobody can answer in its name without
guessing (:mod:`.tftp_budget`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Callable, Sequence

from bootserve.errors import InvalidInput, Unavailable
from bootserve.servers.tftp_child import TftpChild
from bootserve.servers.tftp_events import TftpEvent, TftpEventKind
from bootserve.wire.tftp_options import Limits

__all__ = ["TRANSFER_PORTS", "TftpEvent", "TftpEventKind", "TftpServer", "open_sockets"]

TRANSFER_PORTS = 32
"""Ports of which one is drawn: what a forger has to guess, against how many datagrams come to each
at a time (docs/decisions/0009)."""
_RECEIVE_BUFFER = 4 << 20
_SEND_BUFFER = 1 << 20
"""Bytes that may wait in the kernel: more of them would wait longer than clients do."""
_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>; the socket module does not name it
_SIOCGIFMTU = 0x8921


class TftpServer:
    """Serves the files that ``lookup`` knows, read-only, over IPv4.

    ``address`` must be one of this machine's: it is the source of every reply, and requests sent
    to a broadcast address are not seen (RFC 1123 section 4.2.3.4). ``interface`` restricts the
    server to one interface and gives the MTU that blocks must fit; without it 1,500 bytes are
    assumed. ``max_blksize`` (bytes) and ``max_windowsize`` (blocks) bound what clients may ask
    for. ``lookup`` and ``on_event`` are called on the loop and must not block; the content that
    ``lookup`` returns for a name is good for a second, and of each transfer the server is told how
    it ended. For ``max_transfers`` and ``max_per_address`` see
    :class:`bootserve.servers.tftp_engine.TftpEngine`.

    ``sockets`` are those of :func:`open_sockets` when they are bound already; they are this
    object's from then on.

    The constructor raises InvalidInput when ``address`` is not one IPv4 address.
    """

    def __init__(
        self,
        *,
        address: str,
        port: int = 69,
        interface: str | None = None,
        lookup: Callable[[str], bytes],
        on_event: Callable[[TftpEvent], None],
        max_blksize: int | None = None,
        max_windowsize: int = 64,
        max_transfers: int = 4096,
        max_per_address: int = 1024,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self._address = _unicast(address)
        self._port = port
        self._interface = interface
        self._lookup = lookup
        self._on_event = on_event
        self._max_blksize = max_blksize
        self._max_windowsize = max_windowsize
        self._max_transfers = max_transfers
        self._max_per_address = max_per_address
        self._sockets = sockets
        self._child: TftpChild | None = None

    @property
    def port(self) -> int:
        """The UDP port that is served, once :meth:`start` has returned."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The id of the process that serves, None while there is none."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """Bind and serve; raises Unavailable when address, port or interface cannot be had."""
        if not self._sockets:
            self._sockets = open_sockets(self._address, self._port, self._interface)
        limits = self._limits(self._sockets[0])
        self._port = self._sockets[0].getsockname()[1]
        terms = {
            "blksize": limits.blksize,
            "windowsize": limits.windowsize,
            "max_transfers": self._max_transfers,
            "max_per_address": self._max_per_address,
        }
        self._child = TftpChild(self._sockets, terms, self._lookup, self._on_event)
        try:
            await self._child.start()
        except BaseException:
            self._child = None
            await self.stop()
            raise

    async def stop(self) -> None:
        """End every transfer, telling the clients, and give the ports back. May be repeated."""
        if self._child is not None:
            await self._child.stop()
        for sock in self._sockets:
            sock.close()
        self._sockets, self._child = (), None

    def again(self, address: str) -> None:
        """Note that the node which is given ``address`` starts anew: it may be sent something again
        though it never answered (:mod:`.tftp_budget`)."""
        if self._child is not None:
            self._child.again(address)

    def _limits(self, sock: socket.socket) -> Limits:
        if self._max_blksize is not None:
            return Limits(self._max_blksize, self._max_windowsize)
        return Limits.for_mtu(_mtu(sock, self._interface), self._max_windowsize)


def open_sockets(address: str, port: int, interface: str | None) -> Sequence[socket.socket]:
    """Return sockets bound to ``address`` and ``interface``; raises Unavailable.

    The first is bound to ``port``, for the requests, and the others to ports that were free.
    """
    with contextlib.ExitStack() as undo:
        ports = port, *(0 for _ in range(TRANSFER_PORTS))
        sockets = [undo.enter_context(_open_socket(address, one, interface)) for one in ports]
        undo.pop_all()
    return sockets


def _open_socket(address: str, port: int, interface: str | None) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if interface is not None:
            name = interface.encode() + b"\0"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        _set_receive_buffer(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise _unavailable(error, address, port, interface) from error
    return sock


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


def _unicast(address: str) -> str:
    """Return ``address`` when replies can come from it; with the wildcard they might come from
    another address than the one that was asked, and firmware ignores those."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        raise InvalidInput(f"{address[:40]!r} is not an IPv4 address") from None
    if parsed.is_unspecified or parsed.is_multicast or int(parsed) == 0xFFFFFFFF:
        raise InvalidInput(f"TFTP needs one address of this machine to serve on, not {parsed}")
    return str(parsed)


def _set_receive_buffer(sock: socket.socket) -> None:
    """Make room for what a thousand nodes send at once: the system's limit is for some hundred
    packets, and may be exceeded with CAP_NET_ADMIN."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _mtu(sock: socket.socket, interface: str | None) -> int:
    """Return the MTU of ``interface`` in bytes, Ethernet's without one."""
    if interface is None:
        return 1500
    request = struct.pack("16si12x", interface.encode(), 0)
    answer = fcntl.ioctl(sock, _SIOCGIFMTU, request)
    return int(struct.unpack_from("16si", answer)[1])
