"""The long run: ``python -m tests.fuzz [--seconds N] [--jobs N] [TARGET…]`` (``make fuzz``).

Every target gets ``--seconds``; a finding's input is kept in ``tests/fuzz/found`` under the name
of its target, where the tests try it again from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz.runner import FOUND, Outcome, fuzz
from tests.fuzz.targets import TARGETS

GOAL = 10_000_000


def keep(outcome: Outcome) -> Path:
    """Write the input of a finding to where the tests try it again; return its file."""
    path = FOUND / f"{outcome.target}-{hashlib.sha256(outcome.input).hexdigest()[:12]}"
    path.write_bytes(outcome.input)
    return path


def main() -> int:
    """Fuzz, print the table and return how the process ends: 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=300, help="for each target (default 300)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once")
    asked = parser.parse_args()
    unknown = sorted(set(asked.targets) - set(TARGETS))
    if unknown:
        parser.error(f"there is no target {unknown[0]}; there are {', '.join(TARGETS)}")
    console, outcomes = Console(), []
    with ThreadPoolExecutor(asked.jobs) as pool:
        names = asked.targets or list(TARGETS)
        waiting = [pool.submit(fuzz, name, seconds=asked.seconds) for name in names]
        for done in as_completed(waiting):
            outcomes.append(done.result())
            console.print(f"{outcomes[-1].target}: {outcomes[-1].executions:,} executions")
    table = Table("target", "executions", "features", "finding", title="Fuzzing")
    for one in sorted(outcomes, key=lambda one: one.target):
        finding = f"{one.error} ({keep(one)})" if one.error else ""
        table.add_row(one.target, f"{one.executions:,}", f"{one.features:,}", finding)
    table.add_section()
    findings = sum(bool(one.error) for one in outcomes)
    table.add_row("all", f"{sum(one.executions for one in outcomes):,}", "", str(findings))
    console.print(table)
    if not asked.targets:
        tried = sum(one.executions for one in outcomes)
        reached = "reached" if tried >= GOAL and not findings else "not reached"
        console.print(f"the goal, {GOAL:,} executions without a finding, is {reached}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
