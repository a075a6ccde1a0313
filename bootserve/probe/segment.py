"""One interface as a booting machine has it: whole Ethernet frames, before there is an address."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import scapy.arch  # noqa: F401 (it sets conf.L2socket)
from scapy.config import conf
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from bootserve.core.offer_facts import Offer
from bootserve.errors import InvalidInput, PacketError, Refused, Unavailable
from bootserve.wire.dhcp import BOOTREPLY, DhcpPacket, build, parse

__all__ = ["Answers", "Segment", "ask_boot_server"]

SERVER_PORT, CLIENT_PORT, BOOT_SERVER_PORT = 67, 68, 4011
EVERYONE = "ff:ff:ff:ff:ff:ff"
TRIES = 3
SO_ATTACH_FILTER = 26
_DENIED = (errno.EPERM, errno.EACCES)


class _Filter:
    """A classic BPF program for SO_ATTACH_FILTER (socket(7)); it holds the memory it points to."""

    def __init__(self, *steps: tuple[int, int, int, int]) -> None:
        code = b"".join(struct.pack("HBBI", *step) for step in steps)
        self._code = ctypes.create_string_buffer(code, len(code))
        self.program = struct.pack("HP", len(steps), ctypes.addressof(self._code))


_TO_CLIENT = _Filter(
    (0x28, 0, 0, 12),  # the Ethernet type
    (0x15, 0, 8, 0x0800),  # IPv4
    (0x30, 0, 0, 23),
    (0x15, 0, 6, 17),  # UDP
    (0x28, 0, 0, 20),
    (0x45, 4, 0, 0x1FFF),  # a later fragment
    (0xB1, 0, 0, 14),
    (0x48, 0, 0, 16),
    (0x15, 0, 1, CLIENT_PORT),
    (0x06, 0, 0, 65535),
    (0x06, 0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back: the replies in the order of their arrival, and what no client can read."""

    offers: tuple[Offer, ...]
    malformed: tuple[tuple[str, str], ...] = ()
    """Pairs of the sender's address and what is wrong."""


class Segment:
    """Asks on ``interface`` with whole frames (packet(7)).

    The interface is promiscuous meanwhile, since servers answer to the MAC that is pretended.
    Raises InvalidInput for an interface that is not there.
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        names = [name for _, name in socket.if_nameindex()]
        if interface not in names:
            raise InvalidInput(
                f"there is no interface {interface!r}", hint=f"There are: {', '.join(names)}."
            )

    def ask(self, packet: DhcpPacket, seconds: float) -> Answers:
        """Broadcast ``packet`` once and return what is answered within ``seconds``.

        Once, since a server may read repeated questions as a client that its offers do not suit.
        Raises Refused without the right to do so, InvalidInput when the interface is down,
        Unavailable when it does not send.
        """
        frame = (
            Ether(src=packet.mac, dst=EVERYONE)
            / IP(src="0.0.0.0", dst="255.255.255.255")
            / UDP(sport=CLIENT_PORT, dport=SERVER_PORT)
            / build(packet)
        )
        try:
            # A socket for each question: what is fetched in between would fill its buffer.
            with closing(conf.L2socket(iface=self._interface, promisc=True)) as opened:
                opened.ins.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _TO_CLIENT.program)
                opened.send(frame)
                return _answers(packet.xid, _datagrams(opened, seconds))
        except OSError as error:
            raise _translated(self._interface, error) from None


def _answers(xid: int, datagrams: Iterable[tuple[str, int, bytes]]) -> Answers:
    offers: dict[tuple[str, bytes], Offer] = {}
    malformed: dict[str, str] = {}
    for source, port, data in datagrams:
        try:
            reply = parse(data)
        except PacketError as error:
            if data[4:8] == xid.to_bytes(4, "big"):
                malformed[source] = str(error)
            continue
        if reply.op == BOOTREPLY and reply.xid == xid:
            offers.setdefault((source, data), Offer(reply, source, port))
    return Answers(tuple(offers.values()), tuple(malformed.items()))


def _datagrams(opened: Any, seconds: float) -> Iterator[tuple[str, int, bytes]]:
    """Yield source address, source port and payload of what is sent to the client's port."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([opened], [], [], left)[0]:
            continue
        raw = opened.recv_raw()[1]
        frame = Ether(raw or b"")
        if UDP in frame and frame[UDP].dport == CLIENT_PORT and frame[UDP].len >= 8:
            payload = bytes(frame[UDP].payload.original)[: frame[UDP].len - 8]
            yield frame[IP].src, frame[UDP].sport, payload


def _translated(interface: str, error: OSError) -> Refused | InvalidInput | Unavailable:
    if error.errno in _DENIED:
        return Refused(
            f"this user may not send frames on {interface}",
            hint="Run it as root (sudo), or with CAP_NET_RAW and CAP_NET_ADMIN.",
        )
    if error.errno == errno.ENETDOWN:
        return InvalidInput(
            f"interface {interface} is down", hint=f"Set it up: ip link set {interface} up."
        )
    words = os.strerror(error.errno) if error.errno else str(error)
    return Unavailable(f"interface {interface} cannot be used: {words}")


def ask_boot_server(
    packet: DhcpPacket, server: str, *, interface: str, address: str, seconds: float
) -> Offer | None:
    """Send ``packet`` to port 4011 of ``server`` and return its answer, or None.

    It goes from ``address`` on ``interface``, from port 4011 as EDK2's does, or from a free one
    when a server on this machine has that. Each of three tries waits a third of ``seconds``.
    Raises Unavailable when it cannot be sent.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        try:
            sock.bind((address, BOOT_SERVER_PORT))
        except OSError:
            sock.bind((address, 0))
        sock.settimeout(seconds / TRIES)
        for _ in range(TRIES):
            try:
                sock.sendto(build(packet), (server, BOOT_SERVER_PORT))
                data, sender = sock.recvfrom(65535)
                reply = parse(data)
            except TimeoutError:
                continue
            except PacketError:
                continue
            except OSError as error:
                raise Unavailable(
                    f"{server} cannot be asked on port 4011: {error.strerror}"
                ) from None
            if reply.op == BOOTREPLY and reply.xid == packet.xid:
                return Offer(reply, sender[0], sender[1])
    return None
