"""``python -m bench``: measures bootserve and its peers by turns, prints the table."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from vm_harness.errors import HarnessError

from bench.ceilings import CASE, CEILINGS
from bench.lines import LINES, WORKS, Line, Measure
from bench.loads import Figures
from bench.native import ROOT
from bench.results import judge, print_ceilings, print_table, write_results
from bench.servers import Servers

__all__ = ["main", "select"]

ROUNDS = 5
_IDLE = 0.5
"""A load average above this is other work, or a run that has just ended."""


def select(wanted: str) -> list[Line]:
    """Return the lines that ``wanted`` names: ids or patterns (``tftp-*``), by commas; empty: all.

    Raises HarnessError for a name that is no line's.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if not any(fnmatchcase(line.id, name) for line in LINES):
            raise HarnessError(f"there is no line {name!r}: --list names them all")
    return [line for line in LINES if not names or any(fnmatchcase(line.id, one) for one in names)]


class Run:
    """One run: ``rounds`` of everything that ``lines`` need, each measurement a line of output."""

    def __init__(self, servers: Servers, console: Console, *, rounds: int, scale: float) -> None:
        self._servers = servers
        self._console = console
        self._rounds = rounds
        self._scale = scale

    def measure(self, lines: Sequence[Line]) -> dict[str, dict[str, list[Figures]]]:
        """Return the figures of each round by work and case; in every other round from behind."""
        found: dict[str, dict[str, list[Figures]]] = {}
        for name in [name for name in WORKS if name in {line.work for line in lines}]:
            work = WORKS[name]
            found[name] = {case: [] for case in work.cases}
            seconds = max(work.measure.seconds * self._scale, 1.0)
            for number in range(self._rounds):
                for case in work.cases[:: -1 if number % 2 else 1]:
                    what = f"{name} {number + 1}/{self._rounds} {case}"
                    found[name][case] += self._once(what, work.measure, case, seconds)
        return found

    def ceilings(self, lines: Sequence[Line]) -> dict[str, tuple[str, Figures]]:
        """Return, by load, the figure to look at and all figures of what has the system's limit."""
        found = {}
        for one in CEILINGS:
            if not one.works & {line.work for line in lines}:
                continue
            seconds = max(one.measure.seconds * self._scale, 1.0)
            for figures in self._once(f"ceiling of {one.what}", one.measure, CASE, seconds):
                found[one.what] = one.figure, figures
        return found

    def _once(self, what: str, measure: Measure, case: str, seconds: float) -> list[Figures]:
        """Measure once; nothing is returned, and the rest goes on, when that comes to nothing."""
        try:
            figures = measure.measure(self._servers, case, seconds)
        except HarnessError as error:
            self._console.print(f"{what}: FAILED: {error}", highlight=False, markup=False)
            return []
        self._say(what, figures)
        return [figures]

    def _say(self, what: str, figures: Figures) -> None:
        told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._console.print(f"{what}: {told}", highlight=False, soft_wrap=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--lines", default="", help="ids or patterns, by commas; default: all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one round, a third of the time each")
    parser.add_argument("--list", action="store_true", help="name the lines and stop")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results.json")
    return parser.parse_args(argv)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _bench(given: argparse.Namespace, console: Console) -> int:
    lines = select(given.lines)
    rounds = 1 if given.quick else given.rounds
    if rounds < 1:
        raise HarnessError("--rounds is at least 1")
    began, load = time.monotonic(), os.getloadavg()[0]
    with Servers() as servers:
        run = Run(servers, console, rounds=rounds, scale=1 / 3 if given.quick else 1.0)
        found = run.measure(lines)
        ceilings = run.ceilings(lines)
    verdicts = [judge(line, found[line.work]) for line in lines]
    full = rounds >= ROUNDS and not given.quick
    title = f"Medians of {rounds} rounds" + ("" if full else " (FEWER THAN ASKED FOR: a glimpse)")
    print_table(verdicts, title, console)
    print_ceilings(ceilings, console)
    if load > _IDLE:
        console.print(f"The machine was busy (load {load:.1f} at the start): rates are too low.")
    seconds = round(time.monotonic() - began)
    about: dict[str, Any] = {
        "rounds": rounds,
        "quick": given.quick,
        "full": full,
        "seconds": seconds,
    }
    about |= {"cores": os.cpu_count(), "load": load}
    write_results(given.output, verdicts, ceilings, about)
    console.print(f"{seconds // 60} min {seconds % 60} s; {given.output}")
    return 0 if all(one.met for one in verdicts) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; return 0 when every goal is met, 1 when not, 2 for trouble."""
    given = _arguments(argv)
    console = Console(width=None if sys.stdout.isatty() else 200)
    if given.list:
        for line in LINES:
            goal = f"{'below' if line.below else 'at least'} {line.goal:g}" if line.goal else "told"
            console.print(f"{line.id:22}{line.what}: {line.figure}, {goal}", highlight=False)
        return 0
    signal.signal(signal.SIGTERM, _stop)
    try:
        return _bench(given, console)
    except HarnessError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
