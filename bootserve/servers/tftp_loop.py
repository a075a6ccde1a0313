"""Carries datagrams between blocking UDP sockets and the TFTP engine, many at a time.

What a transfer does with an ACK of everything that was sent is the same each time: those ACKs take
a quick way, in which nothing is made for a packet but its place in two arrays. All others, and
everything else, go through the engine.

Where few datagrams come to a socket at a time, the socket module's own calls cost less than the
arrays do.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter

from bootserve.servers.mmsg import (
    PASSING,
    SLOT_SIZE,
    SLOTS,
    Inbox,
    Outbox,
    Peer,
    client_of,
    peer_of,
)
from bootserve.servers.tftp_engine import Outgoing, TftpEngine
from bootserve.servers.tftp_events import Client
from bootserve.servers.turns import Turns
from bootserve.wire.tftp_blocks import ReadyBlocks
from bootserve.wire.tftp_transfer import ReadTransfer

__all__ = ["TftpLoop"]

_ACK_LENGTH = 4
_FEW = 2
"""Datagrams at a time for which the arrays are worth it."""
_SINGLY = 32
"""Datagrams that are taken one by one where fewer came, before it is looked again."""

_IN_A_ROW = 8
"""Times that the same is seen before it is taken for what comes next."""
_PATIENCE = struct.pack("=qq", 0, 5000)
"""A timeval: how long is waited there while nothing comes, and something may come to others."""

_ONLY_ACKS = [(_ACK_LENGTH,) * count for count in range(SLOTS + 1)]
_NO_ACK = -2


class _Port:
    """One of the sockets, and the transfers by it that may take the quick way."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.quick: dict[Peer, ReadTransfer] = {}
        self.quick_by_client: dict[Client, ReadTransfer] = {}
        self.few = 0
        """Times in a row that few datagrams came at a time."""
        self.singly = 0
        """Datagrams to take one by one before it is looked again how many come at a time."""


class TftpLoop:
    """Serves what comes to ``sockets`` as ``engine`` says. ``clock`` is in seconds.

    They are bound; how long a call on them waits is set here. Requests come to the first, and the
    others are the ports that the engine numbers from 1 on. Where less than ``few`` datagrams come
    to a socket at a time, they are taken one by one.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        engine: TftpEngine,
        clock: Callable[[], float] = time.monotonic,
        few: int = _FEW,
    ) -> None:
        for sock in sockets:
            sock.setblocking(True)  # what finds no room in the kernel waits for it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        self._ports = [_Port(sock) for sock in sockets]
        self._numbers = {port.fd: number for number, port in enumerate(self._ports)}
        self._quick_ports: dict[Client, _Port] = {}
        self._poll = select.epoll()
        for port in self._ports:
            self._poll.register(port.fd, select.EPOLLIN)
        self._engine = engine
        self._clock = clock
        self._few = few
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._turns = Turns()
        self._ready: list[_Port] = []
        self._alone = 0
        self._other = False

    def fileno(self) -> int:
        """Return what is ready to be read while a datagram waits in one of the sockets."""
        return self._poll.fileno()

    def turn(self) -> None:
        """Answer the datagrams that wait; retransmit."""
        self._receive(0)
        self.tick(self._clock())

    def run(self, until: float) -> None:
        """Take turns until the clock says ``until``, or something else than an ACK came."""
        until = min(until, self._engine.timer() or until)
        self._other = False
        now = self._clock()
        while now < until and not self._other and not self._outbox.failed:
            self._receive(until - now)
            if self._alone >= _IN_A_ROW and len(self._ready) == 1:
                self._follow(self._ready[0])
            now = self._clock()
        self.tick(now)

    def _receive(self, timeout: float) -> None:
        """Wait so many seconds for datagrams, and answer some of each socket's."""
        ready = [self._ports[self._numbers[fd]] for fd, _ in self._poll.poll(timeout)]
        for port in ready:
            if port.singly:
                self._take_one(port, socket.MSG_DONTWAIT)
            else:
                self._take_many(port)
        self._outbox.flush()
        self._alone = self._alone + 1 if ready == self._ready else 0
        self._ready = ready

    def _follow(self, port: _Port) -> None:
        """Wait at one socket for a while, as long as something comes: nothing does to others."""
        for _ in range(port.singly):
            if not self._take_one(port, 0) or self._other or self._outbox.failed:
                break
            self._outbox.flush()

    def _take_one(self, port: _Port, flags: int) -> bool:
        """Take a datagram and answer it at once; return whether there was one."""
        port.singly -= 1
        try:
            data, client = port.socket.recvfrom(SLOT_SIZE, flags)
        except OSError as error:
            if error.errno not in PASSING:
                raise
            return False
        now = self._clock()
        self._turns.give_way(now)
        transfer = port.quick_by_client.get(client)
        if transfer is None or transfer.window.ack != data:
            self._give_engine(data, client, port, now)
            return True
        window = transfer.next_window(now)
        if window.segment:
            self._outbox.use(port.fd)
            self._outbox.add_message_run(peer_of(*client), window.message, window.segment)
            return True
        try:
            port.socket.sendto(window.run, client)
        except OSError as error:
            self._outbox.fail(peer_of(*client), error.errno or 0)
        return True

    def _take_many(self, port: _Port) -> None:
        """Take a batch, and let the answers wait to be sent."""
        count = self._inbox.receive(port.fd)
        port.few = port.few + 1 if count < self._few else 0
        if port.few >= _IN_A_ROW:
            port.singly = _SINGLY
        if count:
            now = self._clock()
            self._turns.give_way(now)
            self._take(count, port, now)

    def tick(self, now: float) -> None:
        """Retransmit what is due, and send what waits."""
        when = self._engine.timer()
        if when is not None and when <= now:
            self._sweep(now)
        self._outbox.flush()
        if self._outbox.failed:
            self._give_up(now)

    def resume(self, filename: str) -> None:
        """Begin the transfers that waited for this file's lookup."""
        self._send(self._engine.resume(filename, self._clock()))

    def close(self) -> None:
        """End every transfer and tell the clients."""
        self._send(self._engine.close(self._clock()))
        self._outbox.flush()
        self._poll.close()

    def _take(self, count: int, port: _Port, now: float) -> None:
        inbox, outbox, quick = self._inbox, self._outbox, port.quick
        heads, lengths = inbox.heads(count), inbox.lengths(count)
        if lengths != _ONLY_ACKS[count]:
            heads = tuple(
                head if length == _ACK_LENGTH else _NO_ACK
                for head, length in zip(heads, lengths, strict=True)
            )
        peers: list[Peer] = []
        messages: list[bytes] = []
        outbox.use(port.fd)
        for slot, peer, head in zip(range(count), inbox.peers(count), heads, strict=True):
            transfer = quick.get(peer)
            if transfer is None or transfer.window.awaited != head:
                outbox.add_messages(peers, messages)
                peers, messages = [], []
                self._give_engine(inbox.datagram(slot, lengths[slot]), client_of(peer), port, now)
                outbox.use(port.fd)
                continue
            window = transfer.next_window(now)
            if window.segment:
                outbox.add_message_run(peer, window.message, window.segment)
            else:
                peers.append(peer)
                messages.append(window.message)
        outbox.add_messages(peers, messages)

    def _give_engine(self, data: bytes, client: Client, port: _Port, now: float) -> None:
        self._other = True
        self._send(self._engine.receive(data, client, self._numbers[port.fd], now))
        self._remember(client)

    def _sweep(self, now: float) -> None:
        self._send(self._engine.handle_timer(now))
        for port in self._ports:
            ended = [client for client, one in port.quick_by_client.items() if one.finished]
            for client in ended:
                self._forget(client)

    def _send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send what the engine gave: several to one client that follow each other are a window."""
        for (client, number), window in groupby(outgoing, key=itemgetter(1, 2)):
            self._outbox.use(self._ports[number].fd)
            self._outbox.add_datagrams(peer_of(*client), [datagram for datagram, *_ in window])

    def _give_up(self, now: float) -> None:
        """End the transfers to clients that cannot be reached: no route, port 0, a firewall."""
        failed, self._outbox.failed = self._outbox.failed, []
        for peer, error in failed:
            self._engine.abort(client_of(peer), f"sending failed: {os.strerror(error)}", now)

    def _remember(self, client: Client) -> None:
        """Let the transfer to ``client`` take the quick way when it can."""
        self._forget(client)
        transfer = self._engine.transfer(client)
        if transfer is not None and transfer.answered and isinstance(transfer.blocks, ReadyBlocks):
            port = self._quick_ports[client] = self._ports[self._engine.port(client)]
            port.quick[peer_of(*client)] = port.quick_by_client[client] = transfer

    def _forget(self, client: Client) -> None:
        port = self._quick_ports.pop(client, None)
        if port is not None:
            del port.quick[peer_of(*client)]
            self._outbox.hold(port.quick_by_client.pop(client).blocks)
