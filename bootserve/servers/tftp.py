"""The TFTP server's socket: one for all transfers, read and written by the asyncio loop.

All replies leave from the port that the requests come to. A socket for each transfer, as RFC 1350
section 4 suggests, costs a system call or two for each, and asyncio's endpoints three quarters of
the throughput; OVMF, iPXE, tftp-hpa, atftp and curl take the one port as well.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import ipaddress
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable

from bootserve.errors import InvalidInput, Unavailable
from bootserve.servers.tftp_engine import (
    Client,
    Lookup,
    Outgoing,
    TftpEngine,
    TftpEvent,
    TftpEventKind,
)
from bootserve.wire.tftp_options import Limits

__all__ = ["TftpEvent", "TftpEventKind", "TftpServer"]

_BATCH = 128
"""Datagrams taken in one turn of the loop at most, and sent in answer to them at least before it
ends: HTTP and DHCP must get their turn within some milliseconds."""
_RECEIVE_SIZE = 1024
"""Twice the longest request; what is longer is cut and then refused for its length."""
_RECEIVE_BUFFER = 4 << 20
_SEND_BUFFER = 1 << 20
"""Bytes that may wait in the kernel: more of them would wait longer than clients do."""
_SIOCGIFMTU = 0x8921


class TftpServer:
    """Serves the files that ``lookup`` knows, read-only, over IPv4.

    ``address`` must be one of this machine's: it is the source of every reply, and requests sent
    to a broadcast address are not seen (RFC 1123 section 4.2.3.4). ``interface`` restricts the
    server to one interface and gives the MTU that blocks must fit; without it 1,500 bytes are
    assumed. ``max_blksize`` (bytes) and ``max_windowsize`` (blocks) bound what clients may ask
    for. ``on_event`` is called on the loop and must not block. For ``lookup``,
    ``max_transfers`` and ``max_per_address`` see :class:`TftpEngine`.

    The constructor raises InvalidInput when ``address`` is not one IPv4 address.
    """

    def __init__(
        self,
        *,
        address: str,
        port: int = 69,
        interface: str | None = None,
        lookup: Lookup,
        on_event: Callable[[TftpEvent], None],
        max_blksize: int | None = None,
        max_windowsize: int = 64,
        max_transfers: int = 4096,
        max_per_address: int = 1024,
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
        self._socket: socket.socket | None = None
        self._engine: TftpEngine | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unsent: deque[Outgoing] = deque()

    @property
    def port(self) -> int:
        """The UDP port that is served, once :meth:`start` has returned."""
        return self._port

    async def start(self) -> None:
        """Bind and serve; raises Unavailable when address, port or interface cannot be had."""
        self._socket, limits = self._open()
        self._port = self._socket.getsockname()[1]
        self._engine = TftpEngine(
            lookup=self._lookup,
            on_event=self._on_event,
            limits=limits,
            max_transfers=self._max_transfers,
            max_per_address=self._max_per_address,
        )
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)

    async def stop(self) -> None:
        """End every transfer, telling the clients, and give the port back. May be repeated."""
        if self._socket is None or self._engine is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unsent.clear()
        self._send_all(self._engine.close(loop.time()))
        # The farewells may have found no room; who misses one times out.
        loop.remove_writer(self._socket)
        self._unsent.clear()
        self._socket.close()
        self._socket = self._engine = None

    def _open(self) -> tuple[socket.socket, Limits]:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            if self._interface is not None:
                name = self._interface.encode() + b"\0"
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            sock.bind((self._address, self._port))
            return sock, self._limits(sock)
        except OSError as error:
            sock.close()
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> Unavailable:
        where = f"UDP port {self._port} (TFTP) of {self._address}"
        if error.errno == errno.EADDRINUSE:
            return Unavailable(
                f"{where} is taken",
                hint="Another TFTP server may have it: dnsmasq, tftpd-hpa, atftpd or another "
                f"bootserve. 'ss -ulpn sport = :{self._port}' names it.",
            )
        if error.errno == errno.EADDRNOTAVAIL:
            return Unavailable(f"{where} cannot be served: this machine has no such address")
        if error.errno == errno.ENODEV:
            return Unavailable(f"there is no interface {self._interface} to serve TFTP on")
        if error.errno in (errno.EACCES, errno.EPERM):
            return Unavailable(
                f"{where} may not be used by this user",
                hint="Run as root, or with CAP_NET_BIND_SERVICE and CAP_NET_RAW.",
            )
        return Unavailable(f"{where} cannot be served: {error.strerror}")

    def _limits(self, sock: socket.socket) -> Limits:
        if self._max_blksize is not None:
            return Limits(self._max_blksize, self._max_windowsize)
        return Limits.for_mtu(_mtu(sock, self._interface), self._max_windowsize)

    def _on_readable(self) -> None:
        """Take what has come, up to a batch: each wake-up of the loop costs as much as a block."""
        sock, engine = self._socket, self._engine
        if sock is None or engine is None:
            return
        now = asyncio.get_running_loop().time()
        sent = 0
        for _ in range(_BATCH):
            try:
                data, client = sock.recvfrom(_RECEIVE_SIZE)
            except OSError:
                # Nothing more to read, or the interface went down: the loop calls again.
                break
            outgoing = engine.receive(data, client, now)
            self._send_all(outgoing)
            sent += len(outgoing)
            if self._unsent or sent >= _BATCH:
                break
        self._arm_timer()

    def _send_all(self, outgoing: Iterable[Outgoing]) -> None:
        if self._socket is None:
            return
        sendto, unsent = self._socket.sendto, self._unsent
        for datagram, client in outgoing:
            if unsent:
                unsent.append((datagram, client))
                continue
            try:
                sendto(datagram, client)
            except BlockingIOError:
                unsent.append((datagram, client))
                self._wait_for_room()
            except OSError as error:
                self._give_up_on(client, error)

    def _give_up_on(self, client: Client, error: OSError) -> None:
        """End the transfer to a client that cannot be reached: no route, port 0, a firewall's
        EPERM. ENOBUFS is a full transmit queue, and the packet lost like any other."""
        if self._engine is not None and error.errno != errno.ENOBUFS:
            now = asyncio.get_running_loop().time()
            self._engine.abort(client, f"sending failed: {error.strerror}", now)

    def _wait_for_room(self) -> None:
        """Stop reading until all is sent: what is not read cannot ask for more."""
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.add_writer(self._socket, self._on_writable)

    def _on_writable(self) -> None:
        waiting = list(self._unsent)
        self._unsent.clear()
        self._send_all(waiting)
        if self._unsent or self._socket is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._socket)
        loop.add_reader(self._socket, self._on_readable)
        self._arm_timer()

    def _arm_timer(self) -> None:
        when = self._engine.timer() if self._engine is not None else None
        if when is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        # What still waits here to be sent cannot have been acknowledged: no time has run out.
        if self._engine is not None and not self._unsent:
            now = asyncio.get_running_loop().time()
            self._send_all(self._engine.handle_timer(now))
            self._arm_timer()


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


def _mtu(sock: socket.socket, interface: str | None) -> int:
    """Return the MTU of ``interface`` in bytes, Ethernet's without one."""
    if interface is None:
        return 1500
    request = struct.pack("16si12x", interface.encode(), 0)
    answer = fcntl.ioctl(sock, _SIOCGIFMTU, request)
    return int(struct.unpack_from("16si", answer)[1])
