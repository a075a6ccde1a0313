"""The TFTP server: the socket for requests, and a process of its own that serves them.

The socket is bound here, where the right to is, and kept: packets that come while a worker is
started again wait in it.

A transfer to an address that has not answered lately leaves from a port to itself (RFC 1350 section
4), so that nobody can answer in its name without guessing (:mod:`.tftp_budget`). One to an address
that has leaves from the port for requests, so that many datagrams can be taken and sent at a time:
OVMF, iPXE, tftp-hpa, atftp and curl take that as well.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from bootserve.errors import InvalidInput
from bootserve.servers.tftp_child import TftpChild
from bootserve.servers.tftp_events import TftpEvent, TftpEventKind
from bootserve.servers.tftp_sockets import mtu_of, open_requests
from bootserve.wire.tftp_options import Limits

__all__ = ["TftpEvent", "TftpEventKind", "TftpServer"]


class TftpServer:
    """Serves the files that ``lookup`` knows, read-only, over IPv4.

    ``address`` must be one of this machine's: it is the source of every reply, and requests sent
    to a broadcast address are not seen (RFC 1123 section 4.2.3.4). ``interface`` restricts the
    server to one interface and gives the MTU that blocks must fit; without it 1,500 bytes are
    assumed. ``max_blksize`` (bytes) and ``max_windowsize`` (blocks) bound what clients may ask
    for. ``lookup`` and ``on_event`` are called on the loop and must not block; the content that
    ``lookup`` returns for a name is good for a second, and of each transfer the server is told how
    it ended, or in a flood how many are not told of. For ``max_transfers`` and
    ``max_per_address`` see :class:`bootserve.servers.tftp_engine.TftpEngine`.

    ``requests`` is the socket of :func:`.tftp_sockets.open_requests` when it is bound already; it
    is this object's from then on.

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
        requests: socket.socket | None = None,
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
        self._requests = requests
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
        requests = self._requests or open_requests(self._address, self._port, self._interface)
        self._requests = requests
        limits = self._limits(requests)
        self._port = requests.getsockname()[1]
        terms = {
            "blksize": limits.blksize,
            "windowsize": limits.windowsize,
            "max_transfers": self._max_transfers,
            "max_per_address": self._max_per_address,
        }
        self._child = TftpChild(requests, terms, self._lookup, self._on_event)
        try:
            await self._child.start()
        except BaseException:
            self._child = None
            await self.stop()
            raise

    async def stop(self) -> None:
        """End every transfer, telling the clients, and give the port back. May be repeated."""
        if self._child is not None:
            await self._child.stop()
        if self._requests is not None:
            self._requests.close()
        self._requests = self._child = None

    def again(self, address: str) -> None:
        """Note that the node which is given ``address`` starts anew: it may be sent something again
        though it never answered (:mod:`.tftp_budget`)."""
        if self._child is not None:
            self._child.again(address)

    def _limits(self, sock: socket.socket) -> Limits:
        if self._max_blksize is not None:
            return Limits(self._max_blksize, self._max_windowsize)
        return Limits.for_mtu(mtu_of(sock, self._interface), self._max_windowsize)


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
