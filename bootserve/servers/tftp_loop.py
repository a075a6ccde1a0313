"""Carries datagrams between blocking UDP sockets and the TFTP engine, many at a time.

What a transfer does with an ACK of everything that was sent is the same each time: those ACKs take
a quick way, in which nothing is made for a packet but its place in two arrays. All others, and
everything else, go through the engine.

Where few datagrams come to the socket for requests at a time, the socket module's own calls cost
less than the arrays do. The sockets of single transfers have one at a time.
"""

from __future__ import annotations

import errno
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
from bootserve.servers.tftp_engine import REQUESTS, Outgoing, TftpEngine
from bootserve.servers.tftp_events import Client
from bootserve.servers.tftp_sockets import open_transfer
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
_READY = 64
"""Sockets that are taken from in one turn at most."""
_BEFORE_REQUEST = 8
"""Datagrams that are taken from a client's last transfer before its next request."""
_PATIENCE = struct.pack("=qq", 0, 5000)
"""A timeval: how long is waited there while nothing comes, and something may come to others."""

_ONLY_ACKS = [(_ACK_LENGTH,) * count for count in range(SLOTS + 1)]
_NO_ACK = -2


class _Requests:
    """The socket for requests, and the transfers by it that may take the quick way."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.quick: dict[Peer, ReadTransfer] = {}
        self.quick_by_client: dict[Client, ReadTransfer] = {}
        self.few = 0
        """Times in a row that few datagrams came at a time."""
        self.singly = 0
        """Datagrams to take one by one before it is looked again how many come at a time."""


class _Apart:
    """The socket of one transfer, and the transfer while it may take the quick way."""

    def __init__(self, number: int, client: Client, sock: socket.socket) -> None:
        self.number = number
        self.client = client
        self.socket = sock
        self.fd = sock.fileno()
        self.receive = sock.recv
        self.quick: ReadTransfer | None = None


class TftpLoop:
    """Serves what comes to ``requests`` as ``engine`` says. ``clock`` is in seconds.

    The socket is bound; how long a call on it waits is set here. Those of single transfers are
    opened and closed here. Where less than ``few`` datagrams come at a time, they are taken one by
    one.
    """

    def __init__(
        self,
        requests: socket.socket,
        engine: TftpEngine,
        clock: Callable[[], float] = time.monotonic,
        few: int = _FEW,
    ) -> None:
        _let_wait(requests)
        self._requests = _Requests(requests)
        self._apart: dict[int, _Apart] = {}
        self._apart_by_fd: dict[int, _Apart] = {}
        self._poll = select.epoll()
        self._poll.register(requests, select.EPOLLIN)
        self._engine = engine
        self._clock = clock
        self._few = few
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._turns = Turns()
        self._ready: list[tuple[int, int]] = []
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
                self._follow(self._ready[0][0])
            now = self._clock()
        self.tick(now)

    def _receive(self, timeout: float) -> None:
        """Wait so many seconds for datagrams, and answer some of each socket's."""
        ready = self._poll.poll(timeout, _READY)
        now = self._clock()
        self._turns.give_way(now)
        asked = False
        for fd, _ in ready:
            apart = self._apart_by_fd.get(fd)
            if apart is not None:
                self._take_apart(apart, socket.MSG_DONTWAIT, now)
            elif fd == self._requests.fd:
                asked = True
        if asked and self._requests.singly:
            self._take_one(socket.MSG_DONTWAIT)
        elif asked:
            self._take_many()
        self._outbox.flush()
        self._alone = self._alone + 1 if ready == self._ready else 0
        self._ready = ready

    def _follow(self, fd: int) -> None:
        """Wait at one socket for a while, as long as something comes: nothing does to others."""
        for _ in range(_SINGLY):
            apart = self._apart_by_fd.get(fd)
            if apart is not None:
                took = self._take_apart(apart, 0, 0.0)
            else:
                took = self._requests.singly > 0 and self._take_one(0)
            if not took or self._other or self._outbox.failed:
                break
            self._outbox.flush()

    def _take_apart(self, apart: _Apart, flags: int, now: float) -> bool:
        """Take a datagram from a transfer's own socket and answer it; return whether there was.

        ``now`` is 0 for a call that waits.
        """
        try:
            data = apart.receive(SLOT_SIZE, flags)
        except OSError as error:
            self._cannot_receive(apart, error)
            return False
        now = now or self._clock()
        transfer = apart.quick
        if transfer is None or transfer.window.ack != data:
            self._give_engine(data, apart.client, apart.number, now)
            return True
        window = transfer.next_window(now)
        if window.segment:
            self._outbox.use(apart.fd)
            self._outbox.add_message_run(peer_of(*apart.client), window.message, window.segment)
            return True
        try:
            apart.socket.send(window.run)
        except OSError as error:
            self._outbox.fail(peer_of(*apart.client), error.errno or 0)
        return True

    def _cannot_receive(self, apart: _Apart, error: OSError) -> None:
        """End a transfer whose client's machine says that nobody listens there; pass over the rest
        that may be received the next time."""
        if error.errno == errno.ECONNREFUSED:
            self._engine.abort(apart.client, "the client's port is closed", self._clock())
            self._close_ended()
        elif error.errno not in PASSING:
            raise error

    def _take_one(self, flags: int) -> bool:
        """Take a datagram from the socket for requests and answer it; return whether there was."""
        requests = self._requests
        requests.singly -= 1
        try:
            data, client = requests.socket.recvfrom(SLOT_SIZE, flags)
        except OSError as error:
            if error.errno not in PASSING:
                raise
            return False
        now = self._clock()
        if flags:  # a call that waits has given way
            self._turns.give_way(now)
        transfer = requests.quick_by_client.get(client)
        if transfer is None or transfer.window.ack != data:
            self._give_engine(data, client, REQUESTS, now)
            return True
        window = transfer.next_window(now)
        if window.segment:
            self._outbox.use(requests.fd)
            self._outbox.add_message_run(peer_of(*client), window.message, window.segment)
            return True
        try:
            requests.socket.sendto(window.run, client)
        except OSError as error:
            self._outbox.fail(peer_of(*client), error.errno or 0)
        return True

    def _take_many(self) -> None:
        """Take a batch, and let the answers wait to be sent."""
        requests = self._requests
        count = self._inbox.receive(requests.fd)
        requests.few = requests.few + 1 if count < self._few else 0
        if requests.few >= _IN_A_ROW:
            requests.singly = _SINGLY
        if count:
            now = self._clock()
            self._turns.give_way(now)
            self._take(count, now)

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

    def _take(self, count: int, now: float) -> None:
        inbox, outbox, requests = self._inbox, self._outbox, self._requests
        heads, lengths = inbox.heads(count), inbox.lengths(count)
        if lengths != _ONLY_ACKS[count]:
            heads = tuple(
                head if length == _ACK_LENGTH else _NO_ACK
                for head, length in zip(heads, lengths, strict=True)
            )
        peers: list[Peer] = []
        messages: list[bytes] = []
        outbox.use(requests.fd)
        for slot, peer, head in zip(range(count), inbox.peers(count), heads, strict=True):
            transfer = requests.quick.get(peer)
            if transfer is None or transfer.window.awaited != head:
                outbox.add_messages(peers, messages)
                peers, messages = [], []
                data = inbox.datagram(slot, lengths[slot])
                self._give_engine(data, client_of(peer), REQUESTS, now)
                outbox.use(requests.fd)
                continue
            window = transfer.next_window(now)
            if window.segment:
                outbox.add_message_run(peer, window.message, window.segment)
            else:
                peers.append(peer)
                messages.append(window.message)
        outbox.add_messages(peers, messages)

    def _give_engine(self, data: bytes, client: Client, number: int, now: float) -> None:
        self._other = True
        if number == REQUESTS:
            self._take_before(client)
        self._send(self._engine.receive(data, client, number, now))
        self._remember(client)

    def _take_before(self, client: Client) -> None:
        """Take what ``client`` sent to its transfer before it sent this to the other socket: the
        last acknowledgement of a file, say, before it asks for the next."""
        apart = self._apart.get(self._engine.port(client))
        if apart is not None:
            for _ in range(_BEFORE_REQUEST):
                if apart.number not in self._apart:
                    return
                if not self._take_apart(apart, socket.MSG_DONTWAIT, 0.0):
                    return

    def _sweep(self, now: float) -> None:
        self._send(self._engine.handle_timer(now))
        quick = self._requests.quick_by_client
        for client in [client for client, transfer in quick.items() if transfer.finished]:
            self._forget(client)

    def _send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send what the engine gave: several to one client that follow each other are a window."""
        for (client, number), window in groupby(outgoing, key=itemgetter(1, 2)):
            fd = self._requests.fd if number == REQUESTS else self._fd_of(client, number)
            if fd is not None:
                self._outbox.use(fd)
                self._outbox.add_datagrams(peer_of(*client), [datagram for datagram, *_ in window])
        self._close_ended()

    def _fd_of(self, client: Client, number: int) -> int | None:
        """Return the socket of a transfer, which may have to be opened; None if it cannot be."""
        apart = self._apart.get(number)
        if apart is not None:
            return apart.fd
        try:
            sock = open_transfer(self._requests.socket, client)
        except OSError as error:
            self._outbox.fail(peer_of(*client), error.errno or 0)
            return None
        _let_wait(sock)
        apart = self._apart[number] = _Apart(number, client, sock)
        self._apart_by_fd[apart.fd] = apart
        self._poll.register(apart.fd, select.EPOLLIN)
        return apart.fd

    def _close_ended(self) -> None:
        for number in self._engine.ended():
            apart = self._apart.pop(number, None)
            if apart is not None:
                self._outbox.flush()
                del self._apart_by_fd[apart.fd]
                apart.socket.close()

    def _give_up(self, now: float) -> None:
        """End the transfers to clients that cannot be reached: no route, port 0, a firewall."""
        failed, self._outbox.failed = self._outbox.failed, []
        for peer, error in failed:
            self._engine.abort(client_of(peer), f"sending failed: {os.strerror(error)}", now)
        self._close_ended()

    def _remember(self, client: Client) -> None:
        """Let the transfer to ``client`` take the quick way when it can."""
        self._forget(client)
        transfer = self._engine.transfer(client)
        if transfer is None or not transfer.answered:
            return
        if not isinstance(transfer.blocks, ReadyBlocks):
            return
        apart = self._apart.get(self._engine.port(client))
        if apart is not None:
            apart.quick = transfer
        else:
            requests = self._requests
            requests.quick[peer_of(*client)] = requests.quick_by_client[client] = transfer

    def _forget(self, client: Client) -> None:
        transfer = self._requests.quick_by_client.pop(client, None)
        if transfer is not None:
            del self._requests.quick[peer_of(*client)]
            self._outbox.hold(transfer.blocks)


def _let_wait(sock: socket.socket) -> None:
    """Let calls wait: those that send for room in the kernel, those that receive a moment."""
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
