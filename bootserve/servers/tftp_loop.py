"""Carries datagrams between a blocking UDP socket and the TFTP engine, many at a time.

What a transfer does with an ACK of everything that was sent is the same each time: those ACKs take
a quick way, in which nothing is made for a packet but its place in two arrays. All others, and
everything else, go through the engine.

While only one datagram comes at a time, as from a single client, the socket module's own calls
cost less than the arrays do.
"""

from __future__ import annotations

import os
import socket
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
from bootserve.servers.tftp_engine import Client, Outgoing, TftpEngine
from bootserve.servers.turns import Turns
from bootserve.wire.tftp_blocks import ReadyBlocks
from bootserve.wire.tftp_transfer import ReadTransfer

__all__ = ["TftpLoop"]

_ACK_LENGTH = 4
_FEW = 8
"""Datagrams that came alone, one after the other, after which another alone is expected."""
_SINGLY = 64
"""Datagrams that are then taken one by one before it is looked again."""

_ONLY_ACKS = [(_ACK_LENGTH,) * count for count in range(SLOTS + 1)]
_NO_ACK = -2


class TftpLoop:
    """Serves what comes to ``sock`` as ``engine`` says. ``clock`` is in seconds."""

    def __init__(
        self, sock: socket.socket, engine: TftpEngine, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._socket = sock
        self._fd = sock.fileno()
        self._engine = engine
        self._clock = clock
        self._inbox = Inbox()
        self._outbox = Outbox(self._fd)
        self._quick: dict[Peer, ReadTransfer] = {}
        self._quick_by_client: dict[Client, ReadTransfer] = {}
        self._turns = Turns()
        self._alone = 0
        self._other = False

    def turn(self) -> None:
        """Wait for datagrams, for as long as the socket's timeout, and answer them; retransmit."""
        self.tick(self._receive())

    def run(self, until: float) -> None:
        """Take turns until the clock says ``until``, or something else than an ACK came."""
        until = min(until, self._engine.timer() or until)
        self._other = False
        now = 0.0
        while now < until and not self._other and not self._outbox.failed:
            if self._alone < _FEW:
                now = self._receive()
                self._outbox.flush()
                self._turns.give_way(now)
            else:
                now = self._receive_singly()
        self.tick(now)

    def _receive(self) -> float:
        """Take a batch, let the answers wait to be sent, and return the time."""
        count = self._inbox.receive(self._fd)
        now = self._clock()
        self._alone = self._alone + 1 if count == 1 else 0
        if count:
            self._take(count, now)
        return now

    def _receive_singly(self) -> float:
        """Take a few datagrams one by one, answer each at once, and return the time."""
        receive, send = self._socket.recvfrom, self._socket.sendto
        clock, quick = self._clock, self._quick_by_client
        self._alone = _FEW - 1  # then it is looked whether more come at a time
        for _ in range(_SINGLY):
            try:
                data, client = receive(SLOT_SIZE)
            except OSError as error:
                if error.errno not in PASSING:
                    raise
                return clock()
            now = clock()
            transfer = quick.get(client)
            if transfer is None or transfer.window.ack != data:
                return self._give_engine(data, client, now)
            window = transfer.next_window(now)
            if window.segment:
                self._outbox.add_message_run(peer_of(*client), window.message, window.segment)
                self._outbox.flush()
                continue
            try:
                send(window.run, client)
            except OSError as error:
                self._outbox.fail(peer_of(*client), error.errno or 0)
                break
        return clock()

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

    def _take(self, count: int, now: float) -> None:
        inbox, quick = self._inbox, self._quick
        heads, lengths = inbox.heads(count), inbox.lengths(count)
        if lengths != _ONLY_ACKS[count]:
            heads = tuple(
                head if length == _ACK_LENGTH else _NO_ACK
                for head, length in zip(heads, lengths, strict=True)
            )
        peers: list[Peer] = []
        messages: list[bytes] = []
        for slot, peer, head in zip(range(count), inbox.peers(count), heads, strict=True):
            transfer = quick.get(peer)
            if transfer is None or transfer.window.awaited != head:
                self._outbox.add_messages(peers, messages)
                peers, messages = [], []
                self._give_engine(inbox.datagram(slot, lengths[slot]), client_of(peer), now)
                continue
            window = transfer.next_window(now)
            if window.segment:
                self._outbox.add_message_run(peer, window.message, window.segment)
            else:
                peers.append(peer)
                messages.append(window.message)
        self._outbox.add_messages(peers, messages)

    def _give_engine(self, data: bytes, client: Client, now: float) -> float:
        self._other = True
        self._send(self._engine.receive(data, client, now))
        self._remember(client)
        return now

    def _sweep(self, now: float) -> None:
        self._send(self._engine.handle_timer(now))
        ended = [client for client, one in self._quick_by_client.items() if one.finished]
        for client in ended:
            self._forget(client)

    def _send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send what the engine gave: several to one client that follow each other are a window."""
        for client, window in groupby(outgoing, key=itemgetter(1)):
            self._outbox.add_datagrams(peer_of(*client), [datagram for datagram, _ in window])

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
            self._quick[peer_of(*client)] = self._quick_by_client[client] = transfer

    def _forget(self, client: Client) -> None:
        transfer = self._quick_by_client.pop(client, None)
        if transfer is not None:
            del self._quick[peer_of(*client)]
            self._outbox.hold(transfer.blocks)
