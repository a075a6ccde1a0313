"""What the processes of a server use: all those in its namespace, however many."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from vm_harness.net import Namespace

__all__ = ["cpu_seconds", "pin", "pss_bytes"]

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(namespace: Namespace) -> float:
    """Return the CPU time used so far, user and system, with that of children that have ended."""
    total = 0
    for pid in namespace.pids():
        with contextlib.suppress(OSError):  # it has just ended: its parent's count has it
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(one) for one in fields[11:15])  # proc(5): utime to cstime
    return total / _TICK


def pss_bytes(namespace: Namespace) -> int:
    """Return the sum of the proportional set sizes, in bytes: shared pages count once."""
    total = 0
    for pid in namespace.pids():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


def pin(namespace: Namespace, cores: Iterable[int]) -> None:
    """Let every thread of every process in ``namespace`` run on ``cores`` only."""
    wanted = set(cores)
    for pid in namespace.pids():
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(task), wanted)
