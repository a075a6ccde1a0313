"""Many UDP datagrams in one system call: recvmmsg(2) and sendmmsg(2), over IPv4.

Python's socket module has neither, so they are called through ctypes. All structures are allocated
once and packed in place. A run of datagrams of one size to one peer leaves as one message that the
kernel or the NIC cuts up (UDP_SEGMENT, udp(7)).

A peer is an address and a port as one number: the first eight bytes of its ``sockaddr_in``, big end
first. Its low 32 bits are the address.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TypeAlias

__all__ = [
    "PASSING",
    "SLOTS",
    "SLOT_SIZE",
    "Inbox",
    "Messages",
    "Outbox",
    "Peer",
    "address_of",
    "client_of",
    "message",
    "peer_of",
    "send_messages",
]

Peer: TypeAlias = int

SLOTS = 128
"""Datagrams taken or sent by one call at most."""
SLOT_SIZE = 1024
"""Bytes of a datagram that an Inbox keeps if it is not told otherwise."""
PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENOBUFS,
    }
)
"""Why nothing is received now, and may be the next time: no datagram, a signal, the interface."""
_HEADER = 64  # sizeof(struct mmsghdr)
_NAME = 16  # sizeof(struct sockaddr_in)
_IOVEC = 16
_CONTROL = 24  # CMSG_SPACE(sizeof(uint16_t))
_CONTROL_LENGTH = 40  # offsetof(struct mmsghdr, msg_hdr.msg_controllen)
_QUAD = struct.Struct("=Q")
_SEGMENT = struct.Struct("=QiiH6x")
_SOL_UDP, _UDP_SEGMENT = 17, 103
_GREATEST_RUN = 65000
_MOST_SEGMENTS = 64
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EPERM, errno.ENOBUFS}

_PEER = struct.Struct("=H2s4s")
_PEER_NUMBER = struct.Struct(">Q")
# A struct for each possible number of datagrams: one call reads or writes all of them.
_NAMES = [struct.Struct(">" + "Q8x" * n) for n in range(SLOTS + 1)]
_LENGTHS = [struct.Struct("=" + "56xI4x" * n) for n in range(SLOTS + 1)]
_PLACE = struct.Struct("=QQ")

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_int,
    ctypes.c_void_p,
]
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
_sendto = _libc.sendto
_sendto.argtypes = [
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint,
]
_sendto.restype = ctypes.c_ssize_t


def peer_of(address: str, port: int) -> Peer:
    """Return the peer at an IPv4 ``address`` and a UDP ``port``."""
    name = _PEER.pack(socket.AF_INET, port.to_bytes(2, "big"), socket.inet_aton(address))
    (peer,) = _PEER_NUMBER.unpack(name)
    return int(peer)


def client_of(peer: Peer) -> tuple[str, int]:
    """Return the address and the port of ``peer``."""
    _, port, address = _PEER.unpack(_PEER_NUMBER.pack(peer))
    return socket.inet_ntoa(address), int.from_bytes(port, "big")


def address_of(buffer: bytes) -> int:
    """Return where ``buffer`` lies in memory; good for as long as the object lives."""
    return ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value or 0


def message(buffer: bytes, start: int, length: int) -> bytes:
    """Return what :meth:`Outbox.add_messages` sends ``length`` bytes of ``buffer`` by.

    It is good for as long as ``buffer`` lives.
    """
    return _PLACE.pack(address_of(buffer) + start, length)


def _place(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def send_messages(fd: int, messages: Messages, first: int, count: int) -> int:
    """Send ``count`` of the ``messages`` from ``first`` on; return how many the kernel took.

    At least one: with an error at the first of them, it is the errno, negative.
    """
    taken: int = _sendmmsg(fd, messages.place + _HEADER * first, count, 0)
    return taken if taken > 0 else -ctypes.get_errno()


class Messages:
    """An array of ``mmsghdr``, each with a name and one iovec, at fixed places in memory.

    Each has room for ``control`` bytes of ancillary data, none of which is in use.
    """

    def __init__(self, slots: int = SLOTS, control: int = _CONTROL) -> None:
        self.headers = ctypes.create_string_buffer(_HEADER * slots)
        self.names = ctypes.create_string_buffer(_NAME * slots)
        self.iovecs = ctypes.create_string_buffer(_IOVEC * slots)
        self.controls = ctypes.create_string_buffer(control * slots)
        self.place = _place(self.headers)
        for i in range(slots):
            struct.pack_into(
                "=QI4xQQQ",
                self.headers,
                _HEADER * i,
                _place(self.names) + _NAME * i,
                _NAME,
                _place(self.iovecs) + _IOVEC * i,
                1,
                _place(self.controls) + control * i,
            )

    def use_control(self, slot: int, length: int) -> None:
        """Have the message in ``slot`` carry the first ``length`` bytes of its ancillary data."""
        _QUAD.pack_into(self.headers, _HEADER * slot + _CONTROL_LENGTH, length)


class Inbox:
    """Datagrams taken by one call: ``slots``, at most SLOTS, of ``slot_size`` bytes each."""

    def __init__(self, slots: int = SLOTS, slot_size: int = SLOT_SIZE) -> None:
        self._slots, self._slot_size = slots, slot_size
        self._messages = Messages(slots)
        self._data = ctypes.create_string_buffer(slot_size * slots)
        self._view = memoryview(self._data).cast("B")
        start = _place(self._data)
        for slot in range(slots):
            _PLACE.pack_into(
                self._messages.iovecs, _IOVEC * slot, start + slot_size * slot, slot_size
            )

    @cached_property
    def _heads(self) -> list[struct.Struct]:
        each = f"I{self._slot_size - 4}x"
        return [struct.Struct(">" + each * n) for n in range(self._slots + 1)]

    def receive(self, fd: int, passing: Collection[int] = PASSING) -> int:
        """Take what has come to the socket ``fd`` and return how many datagrams it is.

        0 for an errno in ``passing``: there is none, or another reason that passes. Raises OSError
        for any other.
        """
        count: int = _recvmmsg(fd, self._messages.place, self._slots, socket.MSG_DONTWAIT, None)
        if count >= 0:
            return count
        number = ctypes.get_errno()
        if number in passing:
            return 0
        raise OSError(number, os.strerror(number))

    def peers(self, count: int) -> tuple[Peer, ...]:
        """Return who sent the first ``count`` datagrams."""
        return _NAMES[count].unpack_from(self._messages.names)

    def heads(self, count: int) -> tuple[int, ...]:
        """Return the first four bytes of each as a number, of an ACK opcode and block."""
        return self._heads[count].unpack_from(self._data)

    def lengths(self, count: int) -> tuple[int, ...]:
        """Return the bytes of each; a longer one than fits was cut."""
        return _LENGTHS[count].unpack_from(self._messages.headers)

    def datagram(self, slot: int, length: int) -> bytes:
        """Return a copy of one datagram."""
        start = slot * self._slot_size
        return bytes(self._view[start : start + length])


class Outbox:
    """Datagrams to be sent by one call, on the blocking socket that :meth:`use` named last.

    ``failed`` collects the peers that could not be sent to, with the errno.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._messages = Messages()
        self._iovecs = memoryview(self._messages.iovecs).cast("B")
        self._peers: list[Peer] = []
        self._places: list[bytes] = []
        # Of each slot that sends segments, the size that it was last set to.
        self._segments: dict[int, int] = {}
        self._held: list[object] = []
        self._can_segment = True
        self.failed: list[tuple[Peer, int]] = []

    def use(self, fd: int) -> None:
        """Send by the socket ``fd`` from now on; what was added for another leaves by that."""
        if fd != self._fd:
            self.flush()
            self._fd = fd

    def add(self, peer: Peer, place: int, length: int, segment: int = 0) -> None:
        """Add the datagram of ``length`` bytes at ``place`` in memory.

        It must stay there until :meth:`flush`, which is called here when there is no more room.
        With ``segment`` it leaves as datagrams of that many bytes, the last one maybe shorter.
        """
        slot = len(self._peers)
        if slot == SLOTS:
            self.flush()
            slot = 0
        if self._segments.get(slot, 0) != segment:
            self._segment(slot, segment)
        self._peers.append(peer)
        self._places.append(_PLACE.pack(place, length))

    def add_messages(self, peers: Sequence[Peer], messages: Sequence[bytes]) -> None:
        """Add a datagram to each of at most SLOTS ``peers``, as :func:`message` describes them."""
        if len(self._peers) + len(peers) > SLOTS:
            self.flush()
        begin = len(self._peers)
        for slot in [slot for slot in self._segments if begin <= slot < begin + len(peers)]:
            self._segment(slot, 0)
        self._peers += peers
        self._places += messages

    def add_message_run(self, peer: Peer, run: bytes, segment: int) -> None:
        """Add what :func:`message` describes, as datagrams of ``segment`` bytes."""
        place, length = _PLACE.unpack(run)
        self.add_run(peer, place, length, segment)

    def add_run(self, peer: Peer, place: int, length: int, segment: int) -> None:
        """Add ``length`` bytes, of whatever number, as datagrams of ``segment`` bytes."""
        if length <= segment:
            self.add(peer, place, length)
        elif self._can_segment:
            most = segment * max(1, min(_MOST_SEGMENTS, _GREATEST_RUN // segment))
            for start in range(0, length, most):
                size = min(most, length - start)
                self.add(peer, place + start, size, segment if size > segment else 0)
        else:
            for start in range(0, length, segment):
                self.add(peer, place + start, min(segment, length - start))

    def add_datagrams(self, peer: Peer, datagrams: Sequence[bytes | memoryview]) -> None:
        """Add copies of ``datagrams``, of which only the last may be shorter than the rest."""
        run = b"".join(datagrams)
        self.add_run(peer, address_of(run), len(run), len(datagrams[0]))
        self._held.append(run)

    def hold(self, what: object) -> None:
        """Let ``what`` live until all that was added is sent."""
        self._held.append(what)

    def fail(self, peer: Peer, error: int) -> None:
        """Note that ``peer`` cannot be sent to; a full queue is a packet lost like any other."""
        if error != errno.ENOBUFS:
            self.failed.append((peer, error))

    def flush(self) -> None:
        """Send all that was added."""
        count, sent = len(self._peers), 0
        if not count:
            self._held.clear()
            return
        messages = self._messages
        _NAMES[count].pack_into(messages.names, 0, *self._peers)
        self._iovecs[: _IOVEC * count] = b"".join(self._places)
        while sent < count:
            taken = send_messages(self._fd, messages, sent, count - sent)
            sent += self._overcome(sent, -taken) if taken < 0 else taken
        self._held.clear()
        self._peers.clear()
        self._places.clear()

    def _segment(self, slot: int, segment: int) -> None:
        """Let the messages of ``slot`` be cut into segments from now on, or be left whole."""
        messages = self._messages
        if segment:
            _SEGMENT.pack_into(
                messages.controls, _CONTROL * slot, 18, _SOL_UDP, _UDP_SEGMENT, segment
            )
            self._segments[slot] = segment
        else:
            del self._segments[slot]
        messages.use_control(slot, _CONTROL if segment else 0)

    def _overcome(self, slot: int, error: int) -> int:
        """Do what can be done about a message that was not sent; return how many are done with."""
        if error == errno.EINTR:
            return 0
        if slot in self._segments and error not in _UNREACHABLE:
            # A path whose MTU is below the interface's gives EINVAL: no reason to do without
            # segments for everybody.
            self._can_segment = self._can_segment and error == errno.EINVAL
            error = self._send_singly(slot)
        if error:
            self.fail(self._peers[slot], error)
        return 1

    def _send_singly(self, slot: int) -> int:
        """Send the segments of one message each by its own; return the first errno, or 0."""
        segment = self._segments[slot]
        place, length = _PLACE.unpack(self._places[slot])
        name = ctypes.addressof(self._messages.names) + _NAME * slot
        for start in range(0, length, segment):
            size = min(segment, length - start)
            if _sendto(self._fd, place + start, size, 0, name, _NAME) < 0:
                return ctypes.get_errno()
        return 0
