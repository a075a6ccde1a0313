"""Which shape of offer a UEFI PXE client gets: what is set, what worked, a quirk, the default.

What an iPXE told of a node's NIC is kept here, too, for the quirks that go by it: the firmware,
which the answer is for, cannot tell it.

A client that finds no usable pair of offers repeats its DISCOVER with the same xid and sends no
REQUEST (:mod:`bootserve.core.exchanges`). When that pattern is seen, the very DISCOVER that
completes it is answered in the other shape, in the same exchange, since EDK2 goes on collecting
offers to the end of its next window. The next exchange begins with the shape tried last; should
that fail too, they alternate. What then works is remembered for known nodes, and unlearned in the
same way when it works no more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from bootserve.core.exchanges import EXCHANGE_SECONDS
from bootserve.core.quirks import Advice, QuirkTable
from bootserve.model.names import Mac
from bootserve.model.shape import LearnedShape, Shape, other_shape

__all__ = ["ShapeBook", "ShapeChoice"]

_TRIALS: Final = 1024

Source = Literal["setting", "trial", "learned", "quirk", "default"]


@dataclass(frozen=True, slots=True)
class ShapeChoice:
    """The shape that a NIC would be offered now, and why.

    ``detail`` is the quirk's source; ``at`` when it was learned (seconds since the epoch).
    """

    shape: Shape
    source: Source
    detail: str = ""
    at: float = 0.0


@dataclass(slots=True)
class _Trial:
    """A client whose exchange failed: the shape it gets now, and those tried in its exchange."""

    shape: Shape
    base: Shape
    xid: int
    last: float
    tried: set[Shape] = field(default_factory=set)
    address: str = ""


class ShapeBook:
    """What is known of shapes and NICs, by MAC.

    ``now`` is monotonic seconds, ``at`` seconds since the epoch. Machines that are no node leave
    no trace but in the last 1,024 trials; what is learned is bounded by the number of nodes. Bus
    ids are kept only where a quirk names them.
    """

    def __init__(self, quirks: QuirkTable) -> None:
        self._quirks = quirks
        self._trials: OrderedDict[Mac, _Trial] = OrderedDict()
        self._learned: dict[Mac, LearnedShape] = {}
        self._quirked: OrderedDict[Mac, Advice] = OrderedDict()
        self._bus_ids: dict[Mac, str] = {}

    @property
    def quirks(self) -> QuirkTable:
        """The table of quirks in force."""
        return self._quirks

    @quirks.setter
    def quirks(self, quirks: QuirkTable) -> None:
        self._quirks = quirks
        self._quirked.clear()
        for mac in [mac for mac, one in self._bus_ids.items() if one not in quirks.bus_ids]:
            del self._bus_ids[mac]

    @property
    def learned(self) -> Mapping[Mac, LearnedShape]:
        """What worked, for nodes that once failed with what they would have been offered."""
        return self._learned

    @property
    def bus_ids(self) -> Mapping[Mac, str]:
        """What an iPXE told of nodes' NICs, where a quirk names it; always the same object."""
        return self._bus_ids

    def restore(self, learned: Iterable[LearnedShape]) -> None:
        """Add what was learned before; of two about one NIC the later one counts."""
        for one in learned:
            known = self._learned.get(one.mac)
            if known is None or known.at <= one.at:
                self._learned[one.mac] = one

    def told(self, mac: Mac, bus_id: str) -> bool:
        """Take note of the bus id of a node's NIC; return whether it is news that a quirk needs."""
        if bus_id not in self._quirks.bus_ids or self._bus_ids.get(mac) == bus_id:
            return False
        self._bus_ids[mac] = bus_id
        return True

    def forget_all_but(self, macs: Container[Mac]) -> None:
        """Drop what is known of NICs that belong to no node any more."""
        for mac in [mac for mac in self._learned if mac not in macs]:
            del self._learned[mac]
        for mac in [mac for mac in self._bus_ids if mac not in macs]:
            del self._bus_ids[mac]

    def discover(self, mac: Mac, xid: int, now: float, advice: Advice, *, failed: bool) -> Shape:
        """Take note of a DISCOVER that is to be answered; return the shape of the answer.

        ``failed`` is whether it completes the pattern.
        """
        if advice.quirk:
            self._quirked[mac] = advice
            _bound(self._quirked)
        trial = self._trials.get(mac)
        if trial is None and not failed:
            learned = self._learned.get(mac)
            return learned.shape if learned else advice.shape
        if trial is None:
            trial = self._begin(mac, xid, now, advice.shape)
        elif trial.xid != xid or now - trial.last > EXCHANGE_SECONDS:
            trial.xid, trial.tried, trial.address = xid, {trial.shape}, ""
        trial.last = now
        if failed:
            trial.shape = other_shape(trial.shape)
            trial.tried.add(trial.shape)
        return trial.shape

    def _begin(self, mac: Mac, xid: int, now: float, base: Shape) -> _Trial:
        learned = self._learned.get(mac)
        shape = learned.shape if learned else base
        trial = self._trials[mac] = _Trial(shape, base, xid, now, {shape})
        _bound(self._trials)
        return trial

    def offered(self, mac: Mac, advice: Advice) -> Shape:
        """Return the shape that a client which asks for the boot file was offered."""
        trial = self._trials.get(mac)
        if trial is not None:
            return "binl" if "binl" in trial.tried else trial.shape
        learned = self._learned.get(mac)
        return learned.shape if learned else advice.shape

    def peek(self, mac: Mac, advice: Advice) -> Shape:
        """Return the shape that a DISCOVER would be answered in, and take note of nothing."""
        trial, learned = self._trials.get(mac), self._learned.get(mac)
        if trial is not None:
            return trial.shape
        return learned.shape if learned else advice.shape

    def accepted(self, mac: Mac, address: str) -> None:
        """Take note of a REQUEST to the DHCP server: the client accepted a pair of offers.

        ``address`` is what it asked for, by which its TFTP request will be known.
        """
        trial = self._trials.get(mac)
        if trial is not None:
            trial.address = address

    def asked(self, mac: Mac, at: float, *, known: bool) -> LearnedShape | None:
        """Take note of a REQUEST for the boot file, as BINL has it; return what is learned."""
        trial = self._trials.get(mac)
        if trial is None or "binl" not in trial.tried:
            return None
        return self._settle(mac, trial, "binl", at, known=known)

    def started(self, mac: Mac, at: float, *, known: bool) -> LearnedShape | None:
        """Take note that the NBP was fetched or runs; return what is learned from it.

        A client that was offered both shapes and did not ask for the file took PXE10.
        """
        trial = self._trials.get(mac)
        if trial is None or "pxe10" not in trial.tried:
            return None
        return self._settle(mac, trial, "pxe10", at, known=known)

    def mac_at(self, address: str) -> Mac:
        """Return the MAC of the client on trial that asked for ``address``; else empty."""
        if not self._trials:
            return ""
        return next((mac for mac, one in self._trials.items() if one.address == address), "")

    def _settle(
        self, mac: Mac, trial: _Trial, shape: Shape, at: float, *, known: bool
    ) -> LearnedShape | None:
        if not known:  # it begins with this shape for as long as the trial is remembered
            trial.shape, trial.tried, trial.address = shape, set(), ""
            return None
        del self._trials[mac]
        before = self._learned.get(mac)
        if (before.shape if before else trial.base) == shape:
            return None
        learned = self._learned[mac] = LearnedShape(mac, shape, at)
        return learned

    def explain(self, mac: Mac, setting: Shape | None) -> ShapeChoice:
        """Return what the NIC ``mac`` would be offered at its next DISCOVER, and why."""
        if setting:
            return ShapeChoice(setting, "setting")
        if trial := self._trials.get(mac):
            return ShapeChoice(trial.shape, "trial")
        if learned := self._learned.get(mac):
            return ShapeChoice(learned.shape, "learned", at=learned.at)
        told = self._bus_ids.get(mac, "")
        advice = self._quirked.get(mac) or self._quirks.advise_nic(mac, told)
        return ShapeChoice(advice.shape, "quirk" if advice.quirk else "default", advice.quirk)


def _bound(table: OrderedDict[Mac, _Trial] | OrderedDict[Mac, Advice]) -> None:
    if len(table) > _TRIALS:
        table.popitem(last=False)
