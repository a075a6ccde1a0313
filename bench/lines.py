"""The table: what is measured, against whom, and what is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bench.delays import Answers, Gap, Latency, Memory
from bench.heartbeats import Heartbeats
from bench.loads import FAR_APART, Artifact, Figures, Idle, Offers, Scripts, Tftp
from bench.plans import Plan
from bench.servers import Servers

__all__ = ["LINES", "WORKS", "Line", "Measure", "Work"]


class Measure(Protocol):
    """One kind of measurement; ``seconds`` is how long one takes in full."""

    @property
    def seconds(self) -> float:
        """How long one measurement lasts, in seconds, where that can be chosen."""

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Measure ``case`` once and return its figures by name."""


@dataclass(frozen=True)
class Work:
    """A measurement and its cases, which take turns."""

    measure: Measure
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One line of the table.

    ``figure`` of the case ``ours`` is divided by that of the best of ``peers`` (or, ``inverse``,
    the other way round); without ``peers`` it stands for itself. Either must be at least ``goal``,
    or, with ``below``, below it; without a goal it is only told. ``show`` are figures worth
    printing beside it.
    """

    id: str
    what: str
    work: str
    figure: str
    ours: str
    goal: float | None
    peers: tuple[str, ...] = ()
    inverse: bool = False
    below: bool = False
    show: tuple[str, ...] = field(default=("generator %",))


_US = "bootserve"
_TFTP = {_US: "bootserve 10000", "dnsmasq": "dnsmasq tftp"}
_HPA = {**_TFTP, "tftpd-hpa": "tftpd-hpa"}
_WINDOW = {**_TFTP, "atftpd": "atftpd"}
_OFFERS_100 = {_US: "bootserve 100", "dnsmasq 100": "dnsmasq 100", "dnsmasq 0": "dnsmasq 0"}
_OFFERS_10000 = {_US: "bootserve 10000", "dnsmasq 10000": "dnsmasq 10000"}
_FLAT = {"100": "bootserve 100", "100000": "bootserve 100000"}
_SCRIPTS = {_US: "bootserve 10000", "nginx": "nginx"}
_SCRIPTS_FLAT = {"10": "bootserve 10", "100000": "bootserve 100000"}
_ANSWERS = {"10": "bootserve 10 alike", "10000": "bootserve 10000 alike"}
"""Two that have served nothing else, so that they differ in the number of nodes alone."""


def _same(servers: Mapping[str, str], nodes: int) -> dict[str, int]:
    return dict.fromkeys(servers, nodes)


def _named(servers: Mapping[str, str]) -> dict[str, int]:
    """Return as many nodes for each case as its name says."""
    return {case: int(case) for case in servers}


WORKS: dict[str, Work] = {
    "tftp-1": Work(Tftp(_TFTP, 1), tuple(_TFTP)),
    "tftp-200": Work(Tftp(_TFTP, 200), tuple(_TFTP)),
    "tftp-1000": Work(Tftp(_HPA, 1000, seconds=5), tuple(_HPA)),
    "tftp-w16": Work(Tftp(_WINDOW, 200, windowsize=16), tuple(_WINDOW)),
    "tftp-200-first": Work(Tftp(_TFTP, 200, seconds=1, strangers=True), tuple(_TFTP)),
    "tftp-1000-first": Work(Tftp(_TFTP, 1000, seconds=4, strangers=True), tuple(_TFTP)),
    "tftp-200-ovmf": Work(Tftp(_TFTP, 200, seconds=1, strangers=True, probe=True), tuple(_TFTP)),
    "tftp-1000-ovmf": Work(Tftp(_TFTP, 1000, seconds=4, strangers=True, probe=True), tuple(_TFTP)),
    "idle": Work(Idle(_TFTP), (_US,)),
    "offers-100": Work(Offers(_OFFERS_100, _same(_OFFERS_100, 100)), tuple(_OFFERS_100)),
    "offers-10000": Work(Offers(_OFFERS_10000, _same(_OFFERS_10000, 10_000)), tuple(_OFFERS_10000)),
    "offers-flat": Work(Offers(_FLAT, _named(_FLAT)), tuple(_FLAT)),
    "scripts": Work(
        Scripts(_SCRIPTS, _same(_SCRIPTS, 10_000), seconds=30, for_peer={"nginx": 1 / 3}),
        tuple(_SCRIPTS),
    ),
    "scripts-flat": Work(Scripts(_SCRIPTS_FLAT, _named(_SCRIPTS_FLAT)), tuple(_SCRIPTS_FLAT)),
    "scripts-far": Work(
        Scripts(_SCRIPTS_FLAT, _named(_SCRIPTS_FLAT), stride=FAR_APART), tuple(_SCRIPTS_FLAT)
    ),
    "artifact": Work(Artifact(_SCRIPTS), tuple(_SCRIPTS)),
    "latency": Work(Latency("bootserve 10000"), ("alone", "warm", "cold")),
    "commit": Work(Gap("bootserve 100000"), ("commit", "quiet")),
    "heartbeats": Work(Heartbeats("bootserve 10000", 10_000), (_US,)),
    "memory": Work(Memory("bootserve 100000 fresh", "bootserve 100000"), (_US,)),
    "plan": Work(Plan("bootserve 10000", 10_000), ("explicit", "lists", "new")),
    "answer-scripts": Work(Answers(_ANSWERS, _named(_ANSWERS), "script"), tuple(_ANSWERS)),
    "answer-offers": Work(Answers(_ANSWERS, _named(_ANSWERS), "offer"), tuple(_ANSWERS)),
}
"""In the order in which they are measured: memory last of those that use its servers, and idle once
there was something that could have left it busy."""

_NBP = "1 MB NBP, blksize 1428"
_ONE = f"TFTP, {_NBP}, 1 lock-step client"
_MANY = f"TFTP, {_NBP}, 200 clients"
_MOST = f"TFTP, {_NBP}, 1,000 clients"
_FIRST = "TFTP, first transfer of each of"
_OVMF = "the same, asked for as by OVMF, of"
_DNSMASQ = ("dnsmasq",)
_BEST = ("dnsmasq", "tftpd-hpa")
_W16 = "TFTP, 200 clients, windowsize 16"
_COMMIT = ("p99 ms", "commit s")
_TAIL = ("p50 ms", "max ms", "TFTP MB/s", "artifact MB/s")

LINES: tuple[Line, ...] = (
    Line("tftp-1", _ONE, "tftp-1", "MB/s", _US, 0.9, _DNSMASQ),
    Line("idle", "idle CPU: no busy polling", "idle", "CPU %", _US, 1.0, below=True, show=()),
    Line("tftp-200", _MANY, "tftp-200", "MB/s", _US, 1.1, _DNSMASQ),
    Line("tftp-1000", _MOST, "tftp-1000", "MB/s", _US, 1.2, _BEST),
    Line("tftp-1-cpu", _ONE, "tftp-1", "CPU s/GB", _US, 0.8, _DNSMASQ, True),
    Line("tftp-200-cpu", _MANY, "tftp-200", "CPU s/GB", _US, 1.0, _DNSMASQ, True),
    Line("tftp-1000-cpu", _MOST, "tftp-1000", "CPU s/GB", _US, 1.1, _DNSMASQ, True),
    Line("tftp-200-first", f"{_FIRST} 200", "tftp-200-first", "MB/s", _US, None, _DNSMASQ),
    Line("tftp-1000-first", f"{_FIRST} 1,000", "tftp-1000-first", "MB/s", _US, None, _DNSMASQ),
    Line("tftp-200-ovmf", f"{_OVMF} 200", "tftp-200-ovmf", "MB/s", _US, 1.1, _DNSMASQ),
    Line("tftp-1000-ovmf", f"{_OVMF} 1,000", "tftp-1000-ovmf", "MB/s", _US, 1.2, _DNSMASQ),
    Line("tftp-w16", _W16, "tftp-w16", "MB/s", _US, 4.5, _DNSMASQ),
    Line("tftp-w16-atftpd", _W16, "tftp-w16", "MB/s", _US, 2.0, ("atftpd",)),
    Line(
        "offers-100", "PXE offers, 100 nodes", "offers-100", "offers/s", _US, 1.3, ("dnsmasq 100",)
    ),
    Line(
        "offers-100-bare",
        "the same, dnsmasq without host lines",
        "offers-100",
        "offers/s",
        _US,
        1.0,
        ("dnsmasq 0",),
    ),
    Line(
        "offers-10000",
        "PXE offers, 10,000 nodes",
        "offers-10000",
        "offers/s",
        _US,
        6.0,
        ("dnsmasq 10000",),
    ),
    Line(
        "offers-flat",
        "PXE offers, 100,000 nodes to 100",
        "offers-flat",
        "offers/s",
        "100000",
        0.85,
        ("100",),
    ),
    Line(
        "scripts",
        "node scripts, 32 connections, one core",
        "scripts",
        "scripts/s",
        _US,
        0.35,
        ("nginx",),
        show=("generator %", "unrecorded", "SQL s"),
    ),
    *(
        Line(
            name,
            f"node scripts, 100,000 nodes to 10, {order}",
            name,
            "scripts/s",
            "100000",
            goal,
            ("10",),
            show=("generator %", "unrecorded", "SQL s"),
        )
        for name, order, goal in (
            ("scripts-flat", "in the order of racks", 0.9),
            ("scripts-far", "far apart", None),
        )
    ),
    Line("artifact", "400 MB artifact, 8 clients", "artifact", "MB/s", _US, 0.95, ("nginx",)),
    Line(
        "p99-warm",
        "p99 of scripts under load to alone, page cache warm",
        "latency",
        "p99 ms",
        "warm",
        5.0,
        ("alone",),
        below=True,
        show=_TAIL,
    ),
    Line(
        "p99-cold",
        "p99 of scripts under load to alone, page cache cold",
        "latency",
        "p99 ms",
        "cold",
        5.0,
        ("alone",),
        below=True,
        show=_TAIL,
    ),
    Line(
        "commit-gap",
        "longest gap between replies, commit of 100,000 nodes",
        "commit",
        "gap ms",
        "commit",
        50.0,
        below=True,
        show=_COMMIT,
    ),
    Line(
        "memory",
        "sum of PSS, 100,000 nodes",
        "memory",
        "MB",
        _US,
        250.0,
        below=True,
        show=("peak MB", "used MB"),
    ),
    Line(
        "heartbeats",
        "heartbeats of 10,000 nodes, one a minute each",
        "heartbeats",
        "CPU %",
        _US,
        10.0,
        below=True,
        show=("CPU µs", "p50 ms", "p99 ms"),
    ),
    *(
        Line(
            f"plan-{case}",
            f"plan of a site file, 10,000 nodes, {what}",
            "plan",
            "s",
            case,
            3.0,
            below=True,
            show=("CPU s", "MB"),
        )
        for case, what in (
            ("explicit", "each written out"),
            ("lists", "in host lists"),
            ("new", "all new, all old ones removed"),
        )
    ),
    *(
        Line(
            f"{work}-{clock}",
            f"one answer ({what}), 10,000 nodes to 10, {clock}",
            work,
            figure,
            "10000",
            1.2,
            ("10",),
            below=True,
            show=(),
        )
        for work, what in (("answer-scripts", "script"), ("answer-offers", "offer"))
        for clock, figure in (("wall", "µs"), ("cpu", "CPU µs"))
    ),
)
