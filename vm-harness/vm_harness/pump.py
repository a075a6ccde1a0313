"""A bad cable: passes Ethernet frames between an interface and a tap, some of them not, or late.

It runs as a process of its own (``python -m vm_harness.pump INTERFACE TAP``) in the namespace of
both. Its stdin takes one JSON :class:`Impairment` a line, ``null`` for none; for each it answers a
JSON line with what was done under the one before it.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import json
import os
import random
import selectors
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass
from typing import Final, Literal, get_args

from vm_harness.errors import HarnessError

__all__ = ["Counts", "Impairer", "Impairment", "Towards"]

Towards = Literal["both", "station", "network"]

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP_NO_PI: Final = 0x0002 | 0x1000
_ETH_P_ALL: Final = 0x0003
_SOL_PACKET: Final = 263
_PACKET_IGNORE_OUTGOING: Final = 23
_SO_RCVBUFFORCE: Final = 33
_FRAME: Final = 65_600


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to frames that go ``towards`` the station behind the interface, or from it.

    ``contains`` (hex) drops the frames that hold these bytes. Of the others ``drop``,
    ``duplicate`` and ``reorder`` are the shares (0 to 1) that are lost, passed twice, and held
    back until ``held`` seconds later, behind those that follow; ``delay`` seconds are added to
    every frame. The same ``seed`` gives the same fates to the same frames in the same order.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    held: float = 0.005
    delay: float = 0.0
    contains: str = ""
    towards: Towards = "both"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.towards not in get_args(Towards):
            raise HarnessError(f"towards {self.towards!r} is none of {get_args(Towards)}")
        if not all(0 <= share <= 1 for share in (self.drop, self.duplicate, self.reorder)):
            raise HarnessError("drop, duplicate and reorder are shares between 0 and 1")
        if self.held < 0 or self.delay < 0:
            raise HarnessError("held and delay are not negative")
        try:
            bytes.fromhex(self.contains)
        except ValueError:
            raise HarnessError(f"contains {self.contains!r} is not hex") from None


@dataclass(slots=True)
class Counts:
    """How many frames came, and what became of them; ``filtered`` are those by content."""

    frames: int = 0
    filtered: int = 0
    dropped: int = 0
    duplicated: int = 0
    reordered: int = 0


class Impairer:
    """Decides the fate of each frame, the same one at every run with the same seed."""

    def __init__(self, impairment: Impairment | None) -> None:
        self._what = impairment or Impairment()
        self._random = random.Random(self._what.seed)
        self._bytes = bytes.fromhex(self._what.contains)
        self.counts = Counts()

    def fate(self, frame: bytes, towards: Towards) -> list[float]:
        """Return the delays, in seconds, after which ``frame`` is passed on; none: it is lost."""
        what, counts = self._what, self.counts
        if what.towards not in ("both", towards):
            return [0.0]
        counts.frames += 1
        if self._bytes and self._bytes in frame:
            counts.filtered += 1
            return []
        # one draw for each question, whatever the answers: fates do not shift one another
        lost, twice, late = (self._random.random() for _ in range(3))
        if lost < what.drop:
            counts.dropped += 1
            return []
        delay = what.delay
        if late < what.reorder:
            counts.reordered += 1
            delay += what.held
        if twice < what.duplicate:
            counts.duplicated += 1
            return [delay, delay]
        return [delay]


class _Pump:
    """The two ends and the frames on their way between them."""

    def __init__(self, interface: str, tap: str) -> None:
        self.station = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self.station.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self.station.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        self.station.bind((interface, 0))
        self.station.setblocking(False)
        self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tap, _TUNSETIFF, struct.pack("16sH22x", tap.encode(), _IFF_TAP_NO_PI))
        self.impairer = Impairer(None)
        self._waiting: list[tuple[float, int, bytes, Towards]] = []
        self._number = 0

    def from_station(self) -> None:
        self._take(self.station.recv(_FRAME), "network")

    def from_network(self) -> None:
        self._take(os.read(self.tap, _FRAME), "station")

    def _take(self, frame: bytes, towards: Towards) -> None:
        for delay in self.impairer.fate(frame, towards):
            if delay:
                self._number += 1
                item = (time.monotonic() + delay, self._number, frame, towards)
                heapq.heappush(self._waiting, item)
            else:
                self._pass(frame, towards)

    def _pass(self, frame: bytes, towards: Towards) -> None:
        with contextlib.suppress(OSError):  # the other end is down or full: frames are lost so
            if towards == "station":
                self.station.send(frame)
            else:
                os.write(self.tap, frame)

    def due(self) -> float | None:
        """Pass what is due; return the seconds until more is, None for nothing."""
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, frame, towards = heapq.heappop(self._waiting)
            self._pass(frame, towards)
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None


def _told(pump: _Pump, line: str) -> None:
    said = json.loads(line)
    before = pump.impairer.counts
    pump.impairer = Impairer(Impairment(**said) if said else None)
    print(json.dumps(asdict(before)), flush=True)


def main(interface: str, tap: str) -> None:
    """Pass frames until stdin ends."""
    pump = _Pump(interface, tap)
    print("{}", flush=True)
    with selectors.DefaultSelector() as selector:
        selector.register(pump.station, selectors.EVENT_READ, pump.from_station)
        selector.register(pump.tap, selectors.EVENT_READ, pump.from_network)
        selector.register(sys.stdin, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select(pump.due()):
                if key.data is not None:
                    with contextlib.suppress(BlockingIOError, OSError):
                        key.data()
                elif line := sys.stdin.readline():
                    _told(pump, line)
                else:
                    return


if __name__ == "__main__":
    main(*sys.argv[1:])
