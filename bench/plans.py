"""Planning a site file of as many nodes as a large site has."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from vm_harness.errors import HarnessError

from bench.fleet import mac_of
from bench.loads import Figures
from bench.processes import cpu_seconds
from bench.servers import Servers

__all__ = ["Plan"]

_RACK = 40
_CHANGES = 2
"""What ``bootserve plan`` exits with when something would change."""


@dataclass(frozen=True)
class Plan:
    """``bootserve plan`` as it is typed, from its start to its end.

    Case ``explicit`` writes every node out, ``lists`` one host list for each rack; the pin differs
    from the server's, so each node is told of. ``new`` names all nodes otherwise: as many are added
    and as many removed.
    """

    server: str
    nodes: int
    seconds: float = 0.0

    def measure(self, servers: Servers, case: str, seconds: float) -> Figures:
        """Return the seconds that one plan takes, and CPU seconds of server and command together.

        ``seconds`` is of no matter.
        """
        server = servers.get(self.server)
        boot = server.bootserve
        file = servers.folder / f"{case}.yaml"
        file.write_text("".join(_site(case, self.nodes)))
        saved = servers.folder / f"{case}.json"
        argv = [*boot.command, "plan", "-f", str(file), "-o", str(saved)]
        env = {**os.environ, "BOOTSERVE_STATE_DIR": str(boot.state_dir)}
        cpu = cpu_seconds(server.namespace) + _of_children()
        began = time.monotonic()
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120)
        took = time.monotonic() - began
        cpu = cpu_seconds(server.namespace) + _of_children() - cpu
        if done.returncode != _CHANGES:
            raise HarnessError(f"the plan came to {done.returncode}: {done.stderr[-300:]}")
        told = sum(len(one["nodes"]) for one in json.loads(saved.read_text())["effects"])
        wanted = self.nodes * (2 if case == "new" else 1)
        size = file.stat().st_size / 1e6
        return {"s": took, "CPU s": cpu, "failed": float(abs(told - wanted)), "MB": size}


def _of_children() -> float:
    """Return the CPU seconds of this process' children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _site(case: str, nodes: int) -> Iterator[str]:
    yield "roles:\n  compute: {image: web, kernel_args: console=ttyS0}\n"
    yield "pins: {role/compute: web@2}\n" if case != "new" else "pins: {role/compute: web@1}\n"
    yield "racks:\n"
    for start in range(0, nodes, _RACK):
        end = min(start + _RACK, nodes)
        yield f"  r{start // _RACK}:\n    nodes:\n"
        if case == "lists":
            first, last = mac_of(start), mac_of(end - 1)
            macs = f"{first[:9]}[{first[9:]}-{last[9:]}]"
            yield f"      n[{start}-{end - 1}]: {{macs: '{macs}', role: compute}}\n"
            continue
        letter = "m" if case == "new" else "n"
        for number in range(start, end):
            mac = mac_of(number + (1 << 20 if case == "new" else 0))
            yield f"      {letter}{number}: {{macs: {mac}, role: compute}}\n"
