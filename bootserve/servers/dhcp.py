"""The asyncio shell of the proxyDHCP service: sockets in, the handler's replies out.

Plain sockets drained through ``loop.add_reader``, many datagrams by one system call: asyncio's
datagram transport costs several times as much, and has no ``sendmsg``, which the source address
needs. Each socket is bound to the one interface, so what it receives came in there, and what it
sends goes out there.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bootserve.core.offers import BINL_PORT, DHCP_PORT, Destination, Ignored, Reply
from bootserve.core.responder import Answer, Offered
from bootserve.errors import Unavailable
from bootserve.servers.broadcast import Broadcast, packet_info
from bootserve.servers.mmsg import Inbox, Peer, client_of, peer_of
from bootserve.wire.dhcp import MAX_PACKET
from bootserve.wire.pxe import PxeClient

__all__ = ["DHCP_PORTS", "DhcpEvent", "DhcpServer", "Handler", "open_socket"]

DHCP_PORTS: Final = (DHCP_PORT, BINL_PORT)

_BATCH: Final = 64
"""Datagrams read on one wake-up: enough for a rack's storm, short enough (1 ms) for the rest."""
_SLOT: Final = MAX_PACKET + 64
"""Room for a datagram that is too long, and no power of two: those share places in a cache."""
_NOTHING_NOW: Final = frozenset({errno.EAGAIN, errno.EINTR})
_EVERYONE: Final = ("255.255.255.255", 68)
_RELAY_PORT: Final = 67
_RECEIVE_BUFFER: Final = 1 << 21
"""Bytes; the kernel charges some 1.3 KiB a packet: 1,500 nodes that are switched on together."""
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h; the socket module does not name it

Handler = Callable[[bytes, int, float], Offered | Answer]


@dataclass(frozen=True, slots=True)
class DhcpEvent:
    """Something that happened, for the log and the counters.

    ``kind`` is the reply's kind (``offer nbp``, ``ack binl``, …) once it is sent, or ``ignored``,
    ``send failed``, ``receive failed``, ``no usable offers``; ``reason`` says why. ``port`` is the
    server's, ``source`` the sender's address and port, ``news`` is whether it is no repetition of
    the moment before.
    """

    kind: str
    port: int
    source: tuple[str, int] = ("", 0)
    client: PxeClient | None = None
    node: str = ""
    reason: str = ""
    news: bool = True


class DhcpServer:
    """Answers on one interface, from one address, whatever ``handler`` says to each datagram.

    ``handler`` gets the datagram, the port that it came in on and the time (monotonic seconds), and
    returns the answer. ``on_event`` is called from the event loop and must not block; so is
    ``on_offers``, in place of it, for offers from forms once they are sent. ``sockets`` are
    those of ``ports`` when they are open already (:func:`open_socket`); they are this object's
    from then on.
    """

    def __init__(
        self,
        *,
        interface: str,
        address: str,
        handler: Handler,
        on_event: Callable[[DhcpEvent], None],
        on_offers: Callable[[Sequence[Offered]], None],
        ports: Sequence[int] = DHCP_PORTS,
        sockets: Sequence[socket.socket] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interface = interface
        # The interface may have other addresses, and a reply must come from the one advertised.
        self._from = [packet_info(address)]
        self._broadcast = Broadcast(peer_of(*_EVERYONE), address)
        self._inbox = Inbox(_BATCH, _SLOT)
        self._handler = handler
        self._on_event = on_event
        self._on_offers = on_offers
        self._ports = tuple(ports)
        self._clock = clock
        self._sockets = [*sockets]

    async def start(self) -> None:
        """Open every port and begin to answer.

        Raises Unavailable, with nothing left open, when a port is taken, the interface does not
        exist or the right to bind is missing.
        """
        loop = asyncio.get_running_loop()
        try:
            for port in self._ports[len(self._sockets) :]:
                self._sockets.append(open_socket(self._interface, port))
        except Unavailable:
            await self.stop()
            raise
        for sock, port in zip(self._sockets, self._ports, strict=True):
            loop.add_reader(sock, self._drain, sock, port)

    async def stop(self) -> None:
        """Stop answering and free the ports; calling it again does nothing."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _drain(self, sock: socket.socket, port: int) -> None:
        inbox, handler = self._inbox, self._handler
        report = asyncio.get_running_loop().call_exception_handler
        try:
            count = inbox.receive(sock.fileno(), _NOTHING_NOW)
        except OSError as error:  # the interface went down or away
            self._on_event(DhcpEvent("receive failed", port, reason=_describe(error)))
            return
        peers, now, offers, asked = inbox.peers(count), self._clock(), [], []
        for slot, length in enumerate(inbox.lengths(count)):
            try:
                answer = handler(inbox.datagram(slot, length), port, now)
            except Exception as error:  # one datagram is lost by it, and not all that came with it
                report({"message": "a datagram could not be handled", "exception": error})
                continue
            if isinstance(answer, Offered):
                offers.append(answer)
                asked.append(slot)
            else:
                self._serve(sock, port, answer, client_of(peers[slot]))
        if offers:
            self._offer(sock, offers, [peers[slot] for slot in asked])

    def _offer(self, sock: socket.socket, offers: list[Offered], peers: Sequence[Peer]) -> None:
        failed = self._broadcast.send(sock.fileno(), [one.data for one in offers])
        self._on_offers([one for number, one in enumerate(offers) if number not in failed])
        for number, (offered, peer) in enumerate(zip(offers, peers, strict=True)):
            if error := failed.get(number):
                reason = f"{offered.offer}: {_describe(error)}"
                self._on_event(_event(offered, client_of(peer), "send failed", reason))
            elif offered.found:
                found = str(offered.found)
                self._on_event(_event(offered, client_of(peer), "no usable offers", found))

    def _serve(
        self, sock: socket.socket, port: int, answer: Answer, source: tuple[str, int]
    ) -> None:
        outcome, found = answer.outcome, answer.found
        kind, reason = "ignored", ""
        if isinstance(outcome, Ignored):
            reason = outcome.reason
        else:
            kind, reason = self._send(sock, outcome, source)
        event = DhcpEvent(kind, port, source, outcome.client, outcome.node, reason, answer.news)
        self._on_event(event)
        if found:
            self._on_event(replace(event, kind="no usable offers", reason=str(found)))

    def _send(self, sock: socket.socket, reply: Reply, source: tuple[str, int]) -> tuple[str, str]:
        """Send ``reply``; return the event's kind and reason."""
        try:
            sock.sendmsg([reply.data], self._from, 0, _destination(reply, source))
        except OSError as error:
            return "send failed", f"{reply.kind}: {_describe(error)}"
        return reply.kind, ""


def _event(offered: Offered, source: tuple[str, int], kind: str, reason: str) -> DhcpEvent:
    return DhcpEvent(kind, DHCP_PORT, source, offered.client, offered.node, reason)


def _destination(reply: Reply, source: tuple[str, int]) -> tuple[str, int]:
    if reply.destination is Destination.RELAY:
        return reply.relay, _RELAY_PORT
    if reply.destination is Destination.SOURCE and source[0] != "0.0.0.0":
        return source
    return _EVERYONE


def open_socket(interface: str, port: int) -> socket.socket:
    """Return a socket bound to ``port`` on ``interface`` alone; raises Unavailable."""
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            _widen(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            sock.bind(("", port))  # without SO_REUSEADDR: two servers must not share a port
        except OSError as error:
            raise _cannot_open(error, interface, port) from None
        undo.pop_all()
        return sock


def _widen(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:  # without CAP_NET_ADMIN, as much as net.core.rmem_max allows
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _cannot_open(error: OSError, interface: str, port: int) -> Unavailable:
    where = f"UDP port {port} on {interface}"
    if error.errno == errno.EADDRINUSE:
        return Unavailable(
            f"{where} is taken by another program",
            hint="Another DHCP or PXE server (dnsmasq, isc-dhcp-server, kea-dhcp4, a second "
            f"bootserve) may run on this machine: `ss -lunp sport = :{port}` names it.",
        )
    if error.errno == errno.ENODEV:
        return Unavailable(f"there is no interface {interface}", hint="`ip link` lists them.")
    if error.errno in (errno.EPERM, errno.EACCES):
        return Unavailable(
            f"{where} may not be opened by this user",
            hint="Run as root, or with CAP_NET_BIND_SERVICE and CAP_NET_RAW.",
        )
    return Unavailable(f"{where} cannot be opened: {_describe(error)}")


def _describe(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "error") + f" ({error.strerror or error})"
