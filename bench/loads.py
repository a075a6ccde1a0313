"""What is measured by how much gets through: TFTP, offers, scripts, artifacts."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle

from vm_harness.errors import HarnessError

from bench.processes import cpu_seconds, pin
from bench.servers import ARTIFACT_BYTES, NBP, Server, Servers

__all__ = [
    "CORES",
    "FAR_APART",
    "GENERATOR",
    "SCRIPT_PATH",
    "Artifact",
    "Figures",
    "Idle",
    "Offers",
    "Scripts",
    "Tftp",
    "count_boots",
    "drive",
]

Figures = dict[str, float]

CORES = sorted(os.sched_getaffinity(0))
GENERATOR = ["taskset", "-c", str(CORES[-1])]
"""The server under test has the first core and the generator the last."""
SCRIPT_PATH = "/boot/%s.ipxe"
FAR_APART = 7919
"""Nodes asked for one after another that are no neighbours in memory: a prime."""
MOST_LOST = 0.001
"""The share of DISCOVERs that may come to nothing: the room of a socket has an end."""
_SETTLE = 300.0


def _number(said: Mapping[str, float | str], key: str) -> float:
    return float(said[key])


def drive(
    server: Server, generator: str, timeout: float, /, **values: object
) -> tuple[dict[str, float | str], float, float]:
    """Run a generator against a server that has the first core.

    Returns what it said, the server's CPU seconds and the share of its own core that it used, in
    percent.
    """
    pin(server.namespace, CORES[:1])
    before, began = cpu_seconds(server.namespace), time.monotonic()
    said = server.pair.drive(generator, before=GENERATOR, timeout=timeout, **values)
    elapsed = time.monotonic() - began
    return said, cpu_seconds(server.namespace) - before, _number(said, "cpu") / elapsed * 100


@dataclass(frozen=True)
class Tftp:
    """``clients`` at once fetch the NBP again and again, in windows of ``windowsize`` blocks.

    As ``strangers`` they have other addresses each time, so that all transfers are first ones.
    With ``probe`` each asks for the file's size first, as OVMF does.
    """

    servers: Mapping[str, str]
    clients: int
    windowsize: int = 1
    seconds: float = 3.0
    strangers: bool = False
    probe: bool = False
    turn: Iterator[int] = field(default_factory=lambda: cycle(range(2, 64)), compare=False)

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return MB/s within ``seconds`` and what they cost, and how many transfers failed."""
        said, cpu, busy = drive(
            servers.get(self.servers[case]),
            "tftpload",
            seconds + 120,
            name=NBP,
            file=servers.nbp,
            seconds=seconds,
            clients=self.clients,
            windowsize=self.windowsize,
            probe=int(self.probe),
            address=f"10.98.{4 * next(self.turn) if self.strangers else 0}.1",
        )
        gigabytes = _number(said, "bytes") / 1e9
        # tftpd-hpa's processes end unwaited for, and their CPU time goes with them
        spent = {} if case == "tftpd-hpa" or not gigabytes else {"CPU s/GB": cpu / gigabytes}
        return {
            "MB/s": _number(said, "in_time") / seconds / 1e6,
            **spent,
            "transfers": _number(said, "transfers"),
            "failed": _number(said, "failed"),
            "resent": _number(said, "resent"),
            "generator %": busy,
        }


@dataclass(frozen=True)
class Idle:
    """Nobody asks for anything."""

    servers: Mapping[str, str]
    seconds: float = 5.0

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return the share of a core that is used, in percent."""
        server = servers.get(self.servers[case])
        time.sleep(1)
        before = cpu_seconds(server.namespace)
        time.sleep(seconds)
        return {"CPU %": (cpu_seconds(server.namespace) - before) / seconds * 100}


@dataclass(frozen=True)
class Offers:
    """DISCOVERs of UEFI firmware, a hundred outstanding; ``nodes`` MACs by case."""

    servers: Mapping[str, str]
    nodes: Mapping[str, int]
    seconds: float = 3.0

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return offers in a second and how many DISCOVERs came to nothing."""
        said, cpu, busy = drive(
            servers.get(self.servers[case]),
            "dhcpload",
            seconds + 60,
            nodes=self.nodes[case],
            seconds=seconds,
        )
        offers, lost = _number(said, "offers"), _number(said, "lost")
        return {
            "offers/s": offers / seconds,
            "CPU µs": cpu / offers * 1e6 if offers else 0.0,
            "lost": lost,
            "failed": _number(said, "wrong") + (lost if lost > offers * MOST_LOST else 0),
            "generator %": busy,
        }


def count_boots(server: Server) -> int:
    """Return how many boots the database holds once all that was journaled is in it.

    Half a million take a minute or more to get there on a slow machine.
    """
    deadline = time.monotonic() + _SETTLE
    journaled = (status := server.bootserve.json("status"))["journal_sequence"]
    while status["journal_applied"] < journaled:
        if time.monotonic() > deadline:
            raise HarnessError(f"the journal is not in the database after {_SETTLE:.0f} s")
        time.sleep(0.2)
        status = server.bootserve.json("status")
    path = server.bootserve.state_dir / "bootserve.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        return int(database.execute("select count(*) from boot").fetchone()[0])


@dataclass(frozen=True)
class Scripts:
    """Nodes' scripts over 32 connections, each a new boot; from nginx one file of the same size.

    Each connection asks for nodes that follow each other, as racks do, or ``stride`` apart.
    """

    servers: Mapping[str, str]
    nodes: Mapping[str, int]
    seconds: float = 10.0
    for_peer: Mapping[str, float] = field(default_factory=dict)
    stride: int = 1

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return scripts in a second, and how many boots are not in the database afterwards.

        ``SQL s`` is how long the journal then took to be carried there.
        """
        server = servers.get(self.servers[case])
        seconds *= self.for_peer.get(case, 1.0)
        before = count_boots(server) if server.boot else 0
        said, cpu, busy = drive(
            server,
            "httpload",
            seconds + 60,
            mode="closed",
            path=SCRIPT_PATH,
            expect="bootserve.boot=",
            nodes=self.nodes[case],
            seconds=seconds,
            stride=self.stride,
        )
        answers = _number(said, "answers")
        if said["error"] and not answers:
            raise HarnessError(f"{self.servers[case]}: {said['error']}")
        figures = {
            "scripts/s": answers / _number(said, "seconds"),
            "CPU µs": cpu / answers * 1e6 if answers else 0.0,
            "p99 ms": _number(said, "p99") * 1e3,
            "failed": _number(said, "failed"),
            "generator %": busy,
        }
        if server.boot:
            began = time.monotonic()
            figures["unrecorded"] = answers - (count_boots(server) - before)
            figures["SQL s"] = time.monotonic() - began
        return figures


@dataclass(frozen=True)
class Artifact:
    """A 400 MB artifact to eight clients at once, twice over."""

    servers: Mapping[str, str]
    seconds: float = 0.0

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return MB/s and what they cost; ``seconds`` is as long as it takes."""
        name = servers.artifact.name
        path = "/artifact" if case == "nginx" else f"/artifacts/sha256/{name}"
        said, cpu, busy = drive(
            servers.get(self.servers[case]),
            "httpload",
            600,
            mode="fetch",
            path=path,
            bytes=ARTIFACT_BYTES,
            conns=8,
            count=2,
        )
        gigabytes = _number(said, "bytes") / 1e9
        return {
            "MB/s": gigabytes * 1e3 / _number(said, "seconds"),
            "CPU s/GB": cpu / gigabytes if gigabytes else 0.0,
            "failed": _number(said, "failed"),
            "generator %": busy,
        }
