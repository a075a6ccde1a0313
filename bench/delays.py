"""What is measured by how long it takes: latency under load, the stall of a commit, one answer."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.loads import CORES, FAR_APART, GENERATOR, SCRIPT_PATH, Figures, count_boots, drive
from bench.processes import pin, pss_bytes
from bench.servers import ARTIFACT_BYTES, NBP, Server, Servers
from bootserve.core.minting import RETRY_SECONDS

__all__ = ["Answers", "Gap", "Latency", "Memory"]

PUNCTUAL = ["chrt", "--fifo", "10"]
"""Before all else on the machine, so that only the server's delays are seen, not the clock's."""
RATE = 200
COMMIT_RATE = 1000
_WARM = 1.0


@contextlib.contextmanager
def _cold(path: Path) -> Iterator[None]:
    """Have the kernel forget the pages of ``path`` again and again (posix_fadvise, DONTNEED)."""
    end = threading.Event()

    def evict() -> None:
        with path.open("rb") as file:
            while not end.is_set():
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                end.wait(0.1)

    thread = threading.Thread(target=evict)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@contextlib.contextmanager
def _bulk(server: Server, servers: Servers) -> Iterator[Figures]:
    """Have 200 clients fetch the NBP and eight an artifact; what they got is filled in at the end.

    As fast as they can: so the server is as busy as it can be made.
    """
    transfers = {"name": NBP, "file": servers.nbp, "clients": 200, "seconds": 600}
    path = f"/artifacts/sha256/{servers.artifact.name}"
    files = {"mode": "fetch", "path": path, "bytes": ARTIFACT_BYTES, "conns": 8, "count": 0}
    background, folder, got = server.pair.background, servers.folder, dict[str, float]()
    with (
        background("tftpload", folder / "transfers", before=GENERATOR, **transfers) as tftp,
        background(
            "httpload", folder / "files", before=GENERATOR, address="10.99.0.200", **files
        ) as http,
    ):
        time.sleep(_WARM)
        yield got
    got["TFTP MB/s"] = float(tftp["in_time"]) / float(tftp["elapsed"]) / 1e6
    got["artifact MB/s"] = float(http["received"]) / float(http["seconds"]) / 1e6
    got["failed"] = float(tftp["failed"]) + float(http["failed"])


@dataclass(frozen=True)
class Latency:
    """Scripts at 200 a second, whatever the answers take; cases ``alone``, ``warm``, ``cold``."""

    server: str
    seconds: float = 10.0

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return the latency's percentiles in milliseconds, from when each request was due."""
        server = servers.get(self.server)
        artifact = servers.artifact
        pin(server.namespace, CORES)
        bulk: Figures = {}
        with contextlib.ExitStack() as stack:
            if case == "cold":
                stack.enter_context(_cold(artifact))
            if case != "alone":
                bulk = stack.enter_context(_bulk(server, servers))
            said = server.pair.drive(
                "httpload",
                before=PUNCTUAL,
                timeout=seconds + 60,
                mode="open",
                path=SCRIPT_PATH,
                rate=RATE,
                conns=64,
                seconds=seconds,
                expect="bootserve.boot=",
            )
        failed = float(said["failed"]) + bulk.pop("failed", 0)
        share = {f"{name} ms": float(said[name]) * 1e3 for name in ("p50", "p99", "p999", "max")}
        return {**share, "scripts": float(said["answers"]), "failed": failed, **bulk}


def _commit(server: Server) -> float:
    """Pin every node to the other generation and return the seconds that took."""
    pins = server.bootserve.json("pins")["pins"]
    other = "web@2" if pins[0]["generation"] == "web@1" else "web@1"
    began = time.monotonic()
    server.bootserve.cli("pin", "role/compute", other, "-m", "bench", timeout=300)
    return time.monotonic() - began


@dataclass(frozen=True)
class Gap:
    """Scripts at 1,000 a second while a revision of all nodes commits."""

    server: str
    seconds: float = 2.0

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return the longest time without a reply in milliseconds; ``seconds`` is the lead."""
        server = servers.get(self.server)
        pin(server.namespace, CORES)
        where = servers.folder / "gap"
        load = {"mode": "open", "path": SCRIPT_PATH, "rate": COMMIT_RATE, "conns": 64}
        more = {"seconds": 600, "nodes": int(self.server.split()[1]), "expect": "bootserve.boot="}
        took = 0.0
        with server.pair.background("httpload", where, before=PUNCTUAL, **load, **more) as said:
            time.sleep(seconds)
            if case == "commit":
                took = _commit(server)
            time.sleep(seconds)
        return {
            "gap ms": float(said["longest_gap"]) * 1e3,
            "p99 ms": float(said["p99"]) * 1e3,
            "max ms": float(said["max"]) * 1e3,
            "commit s": took,
            "failed": float(said["failed"]),
        }


@dataclass(frozen=True)
class Memory:
    """A server that has just started, a commit of all its nodes, and the time after it.

    ``used`` is one of as many nodes that has served what the other lines asked of it.
    """

    server: str
    used: str
    seconds: float = 3.0

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return the larger of the two settled sums of PSS and the peak between, in MB."""
        used = servers.running(self.used)
        figures = {"used MB": pss_bytes(used.namespace) / 1e6} if used else {}
        server = servers.get(self.server)
        try:
            time.sleep(seconds)
            started = pss_bytes(server.namespace)
            with _watched(server) as seen:
                _commit(server)
                time.sleep(seconds)
            settled = max(started, pss_bytes(server.namespace))
            return {"MB": settled / 1e6, "peak MB": max(seen) / 1e6, **figures}
        finally:
            servers.stop(self.server)


@contextlib.contextmanager
def _watched(server: Server) -> Iterator[list[int]]:
    """Fill a list with the sum of PSS, in bytes, fifty times a second."""
    seen, end = [pss_bytes(server.namespace)], threading.Event()

    def watch() -> None:
        while not end.wait(0.02):
            seen.append(pss_bytes(server.namespace))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        end.set()
        watcher.join()


@dataclass(frozen=True)
class Answers:
    """One request at a time, so that what is measured is the time of one answer.

    ``kind`` is ``script``, each of a new boot, or ``offer``; ``nodes`` MACs by case.
    """

    servers: Mapping[str, str]
    nodes: Mapping[str, int]
    kind: str
    seconds: float = 2.0

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return microseconds for each answer: wall clock, and the server's CPU."""
        server = servers.get(self.servers[case])
        boots = count_boots(server)  # what was asked before is there, and not on its way there
        time.sleep(RETRY_SECONDS)  # a node that asked a moment ago would be given its last boot
        asked: dict[str, object] = {"nodes": self.nodes[case], "seconds": seconds}
        if self.kind == "script":
            asked |= {"mode": "turns", "path": SCRIPT_PATH, "conns": 100, "stride": FAR_APART}
            asked["expect"] = "bootserve.boot="
            said, cpu, busy = drive(server, "httpload", seconds + 60, **asked)
            answers, failed = float(said["answers"]), float(said["failed"])
            failed += abs(count_boots(server) - boots - answers)
        else:
            said, cpu, busy = drive(server, "dhcpload", seconds + 60, **asked, window=1)
            answers, failed = float(said["offers"]), float(said["lost"]) + float(said["wrong"])
        each = 1e6 / answers if answers else 0.0
        return {"µs": seconds * each, "CPU µs": cpu * each, "failed": failed, "generator %": busy}
