"""Does a boot cost more when there are more nodes? 10 and 10,000, by turns, in one run."""

from __future__ import annotations

import json
import os
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from bench.clients import ADDRESSES
from bench.fleet import make_state

FEW, MANY = 10, 10_000
ROUNDS = 5
COUNT = {"scripts": 2000, "discovers": 4000}
GOAL = 1.2
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Line:
    """One kind of answer: microseconds each, wall clock and the server's CPU, by rounds."""

    wall: dict[int, list[float]] = field(default_factory=lambda: {FEW: [], MANY: []})
    cpu: dict[int, list[float]] = field(default_factory=lambda: {FEW: [], MANY: []})


def cpu_seconds(server: BootServer) -> float:
    """Return the CPU time that the server has used, user and system, in seconds."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(client: Namespace, server: BootServer, kind: str, nodes: int, line: Line) -> None:
    """Drive ``server`` once and add what it took to ``line``."""
    count = COUNT[kind]
    before = cpu_seconds(server)
    argv = [sys.executable, "-m", "bench.clients", kind, str(nodes), str(count)]
    said = json.loads(client.run(["env", f"PYTHONPATH={ROOT}", *argv], timeout=120))
    if said["answers"] != count:
        raise SystemExit(f"{kind} with {nodes} nodes: {said['answers']} of {count} were answered")
    line.wall[nodes].append(said["seconds"] / count * 1e6)
    line.cpu[nodes].append((cpu_seconds(server) - before) / count * 1e6)


def run(lab: Lab) -> dict[str, Line]:
    """Measure both servers by turns; only one runs at a time, since they share the ports."""
    client = lab.client("bench", "10.44.0.50")
    for address in ADDRESSES:
        client.ip("address", "add", f"{address}/32", "dev", "lo")
    lab.network.server.ip("route", "add", "10.99.0.0/24", "via", "10.44.0.50")
    servers = {}
    for nodes in (FEW, MANY):
        state = lab.directory / f"state-{nodes}"
        make_state(state, nodes)
        servers[nodes] = lab.bootserve(state_dir=state, arguments=["--boots-per-node", "1000000"])
    lines = {kind: Line() for kind in COUNT}
    for number in range(ROUNDS + 1):
        for nodes in (FEW, MANY) if number % 2 else (MANY, FEW):
            server = servers[nodes].start()
            for kind, line in lines.items():
                measure(client, server, kind, nodes, line if number else Line())  # 0 warms up
            server.terminate()
    return lines


def main() -> int:
    """Measure, print the table, write ``bench/results.json``; 1 when a ratio is over its goal."""
    with Lab.create() as lab:
        lines = run(lab)
    table = Table(title=f"Time of one answer, µs, medians of {ROUNDS} rounds")
    headings = ("answer", "clock", f"{FEW} nodes", f"{MANY} nodes", "ratio", "goal")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in headings[:2] else "right")
    results = []
    ratios = []
    for kind, line in lines.items():
        for clock, rounds in (("wall", line.wall), ("server CPU", line.cpu)):
            few, many = statistics.median(rounds[FEW]), statistics.median(rounds[MANY])
            ratio = many / few
            ratios.append(ratio)
            results.append({"line": kind, "clock": clock, "few": few, "many": many, "ratio": ratio})
            table.add_row(kind, clock, f"{few:.0f}", f"{many:.0f}", f"{ratio:.2f}", f"{GOAL}")
    Console().print(table)
    (ROOT / "bench/results.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0 if max(ratios) <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
