"""Carries datagrams between a blocking UDP socket and the TFTP engine, many at a time.

What a transfer does with an ACK of everything that was sent is the same each time: those ACKs take
a quick way, in which nothing is made for a packet but its place in two arrays. All others, and
everything else, go through the engine.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter

from bootserve.servers.mmsg import Inbox, Outbox, Peer, address_of, client_of, peer_of
from bootserve.servers.tftp_engine import Outgoing, TftpEngine
from bootserve.wire.tftp_blocks import ReadyBlocks
from bootserve.wire.tftp_transfer import ReadTransfer

__all__ = ["TftpLoop"]

_ACK_LENGTH = 4


class TftpLoop:
    """Serves what comes to ``sock`` as ``engine`` says. ``clock`` is in seconds."""

    def __init__(
        self, sock: socket.socket, engine: TftpEngine, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fd = sock.fileno()
        self._engine = engine
        self._clock = clock
        self._inbox = Inbox()
        self._outbox = Outbox(self._fd)
        # Peer to transfer; where its packets are in memory, bytes of each, bytes of all.
        self._quick: dict[Peer, tuple[ReadTransfer, int, int, int]] = {}

    def turn(self) -> None:
        """Wait for datagrams, for as long as the socket's timeout, and answer them; retransmit."""
        count = self._inbox.receive(self._fd)
        now = self._clock()
        if count:
            self._take(count, now)
        self.tick(now)

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
        inbox, outbox, quick = self._inbox, self._outbox, self._quick
        heads, lengths = inbox.heads(count), inbox.lengths(count)
        for slot, peer in enumerate(inbox.peers(count)):
            entry = quick.get(peer)
            if entry is None or entry[0].awaited != heads[slot] or lengths[slot] != _ACK_LENGTH:
                self._take_other(peer, slot, lengths[slot], now)
                continue
            transfer, place, stride, size = entry
            first, last = transfer.next_window(now)
            start, end = (first - 1) * stride, last * stride
            if first == last:
                outbox.add(peer, place + start, (end if end < size else size) - start)
            else:
                outbox.add_run(peer, place + start, min(end, size) - start, stride)

    def _take_other(self, peer: Peer, slot: int, length: int, now: float) -> None:
        # First, since the engine may let go of packets that wait to be sent.
        self._outbox.flush()
        data = self._inbox.datagram(slot, length)
        self._send(self._engine.receive(data, client_of(peer), now))
        self._remember(peer)

    def _sweep(self, now: float) -> None:
        self._outbox.flush()
        self._send(self._engine.handle_timer(now))
        ended = [peer for peer, entry in self._quick.items() if entry[0].finished]
        for peer in ended:
            del self._quick[peer]

    def _send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send what the engine gave: several to one client that follow each other are a window."""
        for client, window in groupby(outgoing, key=itemgetter(1)):
            self._outbox.add_datagrams(peer_of(*client), [datagram for datagram, _ in window])

    def _give_up(self, now: float) -> None:
        """End the transfers to clients that cannot be reached: no route, port 0, a firewall."""
        failed, self._outbox.failed = self._outbox.failed, []
        for peer, error in failed:
            self._engine.abort(client_of(peer), f"sending failed: {os.strerror(error)}", now)

    def _remember(self, peer: Peer) -> None:
        """Let the transfer of ``peer`` take the quick way when it can."""
        transfer = self._engine.transfer(client_of(peer))
        if transfer is not None and transfer.answered and isinstance(transfer.blocks, ReadyBlocks):
            blocks = transfer.blocks
            self._quick[peer] = transfer, address_of(blocks.buffer), blocks.stride, blocks.size
        else:
            self._quick.pop(peer, None)
