"""What nodes' heartbeats cost the server."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from bench.loads import CORES, GENERATOR, Figures
from bench.native import ROOT
from bench.network import SERVER
from bench.processes import cpu_seconds, pin
from bench.servers import Servers

__all__ = ["Heartbeats"]


@dataclass(frozen=True)
class Heartbeats:
    """``nodes`` nodes of ``server``, each with a heartbeat every ``every`` seconds."""

    server: str
    nodes: int
    every: float = 60.0
    seconds: float = 15.0

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return the server's CPU in percent of one core, and what one heartbeat takes."""
        server = servers.get(self.server)
        file = servers.folder / "heartbeats"
        argv = ["env", f"PYTHONPATH={ROOT}", *GENERATOR, sys.executable, "-m", "bench.beats"]
        rest = [str(file), SERVER, str(self.nodes), str(self.nodes / self.every), str(seconds)]
        pin(server.namespace, CORES[:1])
        if not file.exists():
            server.pair.client.run([*argv, "boot", *rest], timeout=600)
            server.bootserve.json("boots", "--limit", "1")  # whoever asks waits for the journal
        before = cpu_seconds(server.namespace)
        said = json.loads(server.pair.client.run([*argv, "beat", *rest], timeout=seconds + 60))
        cpu = cpu_seconds(server.namespace) - before
        return {
            "CPU %": cpu / said["seconds"] * 100,
            "CPU µs": cpu / said["count"] * 1e6,
            "heartbeats/s": said["count"] / said["seconds"],
            "p50 ms": said["p50 ms"],
            "p99 ms": said["p99 ms"],
            "failed": float(said["failed"]),
        }
