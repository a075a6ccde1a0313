"""How far the generators, the kernel and Python reach: the same loads on servers of no use."""

from __future__ import annotations

from dataclasses import dataclass

from bench.delays import Latency
from bench.lines import Measure
from bench.loads import Offers, Scripts, Tftp

__all__ = ["CASE", "CEILINGS", "Ceiling"]

CASE = "alone"
"""Beside nothing else, as Latency calls it, too."""
_SERVERS = {
    "C, a datagram a call": "responder mode={} batch=1",
    "C, 64 datagrams a call": "responder mode={} batch=64",
    "Python, a datagram a call": "limit {}",
}
_TFTP = {"tftp-1": (1, 1), "tftp-200": (200, 1), "tftp-1000": (1000, 1), "tftp-w16": (200, 16)}
"""By work: clients, windowsize."""


@dataclass(frozen=True)
class Ceiling:
    """A load on the least that a server can do.

    It belongs to the lines of ``works``; ``figure`` is what to compare with theirs.
    """

    what: str
    figure: str
    measure: Measure
    works: frozenset[str]


def _ceilings() -> tuple[Ceiling, ...]:
    made = []
    for work, (clients, windowsize) in _TFTP.items():
        for how, server in _SERVERS.items():
            load = Tftp({CASE: server.format("tftp")}, clients, windowsize=windowsize)
            made.append(Ceiling(f"{work}: {how}", "MB/s", load, frozenset({work})))
    offers = frozenset({"offers-100", "offers-10000", "offers-flat"})
    for how, server in _SERVERS.items():
        many = Offers({CASE: server.format("dhcp")}, {CASE: 10_000})
        made.append(Ceiling(f"offers: {how}", "offers/s", many, offers))
    for how, server in (("C", "responder mode=http"), ("Python, asyncio", "limit http")):
        scripts = Scripts({CASE: server}, {CASE: 10_000}, seconds=3)
        works = frozenset({"scripts", "scripts-flat"})
        made.append(Ceiling(f"scripts: {how}", "scripts/s", scripts, works))
    alone = Latency("responder mode=http")
    made.append(Ceiling("p99 alone: C", "p99 ms", alone, frozenset({"latency"})))
    return tuple(made)


CEILINGS = _ceilings()
