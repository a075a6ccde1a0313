"""Plays the network to one firmware: an ordinary DHCP server, and bootserve's own offers.

Frame by frame, so that each thing can be left out, come late, or come twice.
"""

from __future__ import annotations

import heapq
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from vm_harness.accel import choose_accelerator
from vm_harness.dgram import DgramVm, Udp
from vm_harness.machine import Machine

from bootserve.core.offers import BINL_PORT, DHCP_PORT, OfferSettings, OfferTarget, Reply, answer
from bootserve.model.shape import Shape
from bootserve.wire.dhcp import BOOTREPLY, OPT_SERVER_ID, DhcpPacket, MessageType, build, parse
from bootserve.wire.pxe import ClientArch

__all__ = ["Exchange", "Main", "Ours", "Seen"]

Ours = Literal[
    "at once",
    "after 5 s",
    "after the ACK",
    "twice",
    "without 54",
    "as PXEClient",
    "its ACK after 5 s",
]
"""When and how bootserve's offer reaches the firmware; ``its ACK`` is port 4011's."""
Main = Literal[
    "address",
    "60 without 43",
    "a file",
    "a file, no NUL",
    "60 and a file",
    "60, 43 and a file",
    "HTTPClient and a URL",
    "none",
]
"""What the ordinary DHCP server sends: an address alone, or what such servers are seen to add."""
Firmware = Literal["bios", "uefi", "uefi-http"]

OURS, MAIN, NODE = "10.77.0.1", "10.77.0.2", "10.77.0.50"
HOSTS = {OURS: "02:00:00:00:00:01", MAIN: "02:00:00:00:00:02"}
NBPS = {ClientArch.BIOS: "undionly.kpxe", ClientArch.EFI_X64: "ipxe.efi"}
_LEASE = {1: bytes((255, 255, 255, 0)), 3: socket.inet_aton(MAIN), 51: (3600).to_bytes(4, "big")}
_FILE = b"theirs.efi"
_THEIR_URL = f"http://{MAIN}/theirs.efi".encode()
_QUIET = 20.0
_FAILED = "BdsDxe: failed to load"


@dataclass
class Seen:
    """What the firmware did: the end, and on the way there.

    ``end`` names what it fetched first and from whom, or is ``gave up``. ``discovers`` are the
    seconds of its DISCOVERs from the first, ``requests`` how often it accepted an address,
    ``declined`` how often it gave one back, ``binl`` whose port 4011 it asked.
    """

    end: str = ""
    discovers: list[int] = field(default_factory=list)
    requests: int = 0
    declined: int = 0
    binl: list[str] = field(default_factory=list)


class Exchange:
    """One power-on of a firmware before this network, up to its first fetch.

    It has given up when UEFI goes on to its next boot option: HTTP boot after PXE, nothing after
    that, as its console says. iPXE, whose longest wait is some 8 s, has when it says nothing for
    ``_QUIET`` seconds. ``started`` is told the process id of its QEMU.
    """

    def __init__(
        self,
        firmware: Firmware,
        main: Main,
        ours: Ours,
        shape: Shape,
        *,
        started: Callable[[int], object],
    ) -> None:
        self._firmware = firmware
        self._main = main
        self._ours = ours
        self._started = started
        self._settings = OfferSettings(OURS, f"http://{OURS}:8080", NBPS, shape=shape)
        self._due: list[tuple[float, int, Udp]] = []
        self._held: list[Udp] = []
        self._first = 0.0
        self.seen = Seen()

    def run(self, *, limit: float) -> Seen:
        """Power on, play for ``limit`` seconds at most, and return what was seen."""
        machine = Machine("firmware", ("52:54:00:0f:00:01",), firmware=self._firmware, memory=256)
        end = time.monotonic() + limit
        with DgramVm(machine, choose_accelerator(), HOSTS) as vm:
            self._started(vm.pid)
            heard = end
            while not self.seen.end and time.monotonic() < min(end, heard):
                if (said := vm.segment.receive(self._next(end))) is not None:
                    self._hear(said)
                    heard = time.monotonic() + _QUIET if self._firmware == "bios" else end
                elif self._firmware == "uefi-http" and _FAILED in vm.console:
                    self.seen.end = "gave up"
                while self._due and self._due[0][0] <= time.monotonic():
                    vm.segment.send(heapq.heappop(self._due)[2])
        self.seen.end = self.seen.end or ("gave up" if time.monotonic() < end else "no end")
        return self.seen

    def _next(self, end: float) -> float:
        soon = time.monotonic() + 0.5
        return min(soon, end, *(due[0] for due in self._due[:1]))

    def _hear(self, said: Udp) -> None:
        who = {OURS: "ours", MAIN: "theirs"}.get(said.target[0], said.target[0])
        if said.tcp:
            self.seen.end = f"connects to port {said.target[1]} of {who}"
        elif said.target[1] == 69:
            name = said.payload[2:].partition(b"\0")[0].decode("latin-1")
            self.seen.end = f"fetches {name} from {who}"
        elif said.target[1] in (DHCP_PORT, BINL_PORT) and who != NODE:
            self._dhcp(said, parse(said.payload), who)

    def _dhcp(self, said: Udp, packet: DhcpPacket, who: str) -> None:
        now = time.monotonic()
        if said.target[1] == BINL_PORT:
            self.seen.binl.append(who)
            if who == "theirs":
                return
        elif packet.options.get(60, b"").startswith(b"HTTPClient") and self._firmware == "uefi":
            self.seen.end = "gave up"
            return
        elif packet.message_type == MessageType.DISCOVER:
            self._first = self._first or now
            self.seen.discovers.append(round(now - self._first))
        elif packet.message_type == MessageType.REQUEST:
            self.seen.requests += 1
        elif packet.message_type == MessageType.DECLINE:
            self.seen.declined += 1
            return
        if said.target[1] == DHCP_PORT:
            self._play_main(packet, now)
        self._play_ours(said, now)

    def _play_main(self, packet: DhcpPacket, now: float) -> None:
        if self._main == "none":
            return
        kind = MessageType.OFFER
        if packet.message_type == MessageType.REQUEST:
            kind = MessageType.ACK
        options = {53: bytes((kind,)), OPT_SERVER_ID: socket.inet_aton(MAIN)} | _LEASE
        has_file = "a file" in self._main
        if self._main.startswith("60"):
            options[60] = b"PXEClient"
        if self._main == "60, 43 and a file":
            options[43] = bytes((6, 1, 8, 255))
        if has_file:
            options[67] = _FILE if self._main == "a file, no NUL" else _FILE + b"\0"
        if self._main == "HTTPClient and a URL":
            options |= {60: b"HTTPClient", 67: _THEIR_URL + b"\0"}
        reply = DhcpPacket(
            op=BOOTREPLY,
            xid=packet.xid,
            chaddr=packet.chaddr,
            options=options,
            flags=packet.flags,
            yiaddr=socket.inet_aton(NODE),
            siaddr=socket.inet_aton(MAIN) if has_file else bytes(4),
            file=_FILE if has_file else b"",
        )
        self._send(now + 0.05, MAIN, DHCP_PORT, ("255.255.255.255", 68), build(reply))
        if kind == MessageType.ACK:
            for late in self._held:
                self._send(now + 0.3, *late.source, late.target, late.payload)
            self._held.clear()

    def _play_ours(self, said: Udp, now: float) -> None:
        port = said.target[1]
        reply = answer(
            said.payload, port=port, settings=self._settings, lookup=lambda mac: OfferTarget("n1")
        )
        if not isinstance(reply, Reply):
            return
        data = reply.data
        packet = parse(data)
        if self._ours == "without 54":
            kept = {code: value for code, value in packet.options.items() if code != OPT_SERVER_ID}
            data = build(replace(packet, options=kept))
        elif self._ours == "as PXEClient":
            data = build(replace(packet, options={**packet.options, 60: b"PXEClient"}))
        target = said.source if port == BINL_PORT else ("255.255.255.255", 68)
        if self._ours == "after the ACK" and port == DHCP_PORT:
            self._held = [Udp((OURS, DHCP_PORT), target, data)]
            return
        late = {"after 5 s": DHCP_PORT, "its ACK after 5 s": BINL_PORT}.get(self._ours)
        delay = 5.0 if port == late else 0.1
        for copy in range(2 if self._ours == "twice" else 1):
            self._send(now + delay + copy / 10, OURS, port, target, data)

    def _send(
        self, at: float, source: str, port: int, target: tuple[str, int], data: bytes
    ) -> None:
        heapq.heappush(self._due, (at, len(self._due), Udp((source, port), target, data)))
