"""Datagrams to one and the same peer, from an address that is told: a batch by one system call."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from bootserve.servers.mmsg import SLOTS, Messages, Peer, address_of, send_messages

__all__ = ["Broadcast", "packet_info"]

_PKTINFO: Final = struct.Struct("=I4s4s")
_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)  # named in the socket module from 3.12
_HEADER: Final = struct.Struct("=Qii")
_CONTROL: Final = 32  # CMSG_SPACE(sizeof(struct in_pktinfo))
_NAME: Final = struct.Struct(">Q8x")
_IOVECS: Final = [struct.Struct(f"={2 * n}Q") for n in range(SLOTS + 1)]


def packet_info(source: str) -> tuple[int, int, bytes]:
    """Return the ancillary data that has a datagram leave from the address ``source`` (ip(7))."""
    return socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, socket.inet_aton(source), bytes(4))


class Broadcast:
    """Sends to ``peer``, from the address ``source``."""

    def __init__(self, peer: Peer, source: str) -> None:
        self._messages = messages = Messages(control=_CONTROL)
        level, kind, info = packet_info(source)
        header = _HEADER.pack(_HEADER.size + len(info), level, kind)
        control = (header + info).ljust(_CONTROL, b"\0")
        messages.names.raw = _NAME.pack(peer) * SLOTS
        messages.controls.raw = control * SLOTS
        for slot in range(SLOTS):
            messages.use_control(slot, _CONTROL)

    def send(self, fd: int, datagrams: Sequence[bytes]) -> dict[int, OSError]:
        """Send at most SLOTS ``datagrams`` on the socket ``fd``.

        Returns why one could not be sent, by its number; the others are.
        """
        joined, count = b"".join(datagrams), len(datagrams)
        lengths = [len(one) for one in datagrams]
        places = [*accumulate(lengths, initial=address_of(joined))]
        both = [0] * (2 * count)
        both[::2], both[1::2] = places[:count], lengths
        _IOVECS[count].pack_into(self._messages.iovecs, 0, *both)
        failed: dict[int, OSError] = {}
        sent = 0
        while sent < count:
            taken = send_messages(fd, self._messages, sent, count - sent)
            if taken >= 0:
                sent += taken
            elif taken != -errno.EINTR:
                failed[sent] = OSError(-taken, os.strerror(-taken))
                sent += 1
        return failed
