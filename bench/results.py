"""From measurements to verdicts, the table and ``bench/results.json``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.lines import Line
from bench.loads import Figures

__all__ = ["Verdict", "judge", "print_ceilings", "print_table", "write_results"]

Rounds = Mapping[str, Sequence[Figures]]
"""By case: the figures of each round."""
BUSY = 90.0
"""Percent of its core from which on it is the generator that is measured."""
_SPENT = ("CPU s/GB", "CPU µs")
_MUST_BE_NONE = ("failed", "unrecorded")


@dataclass(frozen=True)
class Verdict:
    """One line's outcome: medians of ours and of the peer that it is compared with."""

    line: Line
    ours: Figures
    peer: str
    theirs: Figures
    value: float
    met: bool
    reason: str
    rounds: Rounds

    @property
    def by_cpu(self) -> float | None:
        """What the peer spent for each byte or answer to what we did, where both are known.

        On a machine with other work this says more than the rates do.
        """
        for name in _SPENT:
            if self.ours.get(name) and self.theirs.get(name):
                return self.theirs[name] / self.ours[name]
        return None


def medians(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure over ``rounds``; none when nothing was measured."""
    if not rounds:
        return {}
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def judge(line: Line, rounds: Rounds) -> Verdict:
    """Return the verdict on ``line``: figures that must be zero are looked at in every round."""
    ours = medians(rounds[line.ours])
    peer, theirs = _best(line, rounds)
    missing = [case for case in (line.ours, *line.peers) if not rounds[case]]
    if missing:
        reason = f"{missing[0]} could not be measured"
        return Verdict(line, ours, peer, theirs, 0.0, False, reason, rounds)
    value = ours[line.figure]
    if peer:
        over, under = (theirs, ours) if line.inverse else (ours, theirs)
        value = over[line.figure] / under[line.figure] if under[line.figure] else 0.0
    reason = _spoilt(rounds[line.ours])
    reached = line.goal is None or (value < line.goal if line.below else value >= line.goal)
    return Verdict(line, ours, peer, theirs, value, reached and not reason, reason, rounds)


def _best(line: Line, rounds: Rounds) -> tuple[str, Figures]:
    """Return the peer with the most: the one of several that it is hardest to be better than."""
    found = {peer: medians(rounds[peer]) for peer in line.peers if rounds[peer]}
    if not found:
        return "", {}
    best = max(found, key=lambda peer: found[peer][line.figure])
    return best, found[best]


def _spoilt(rounds: Iterable[Figures]) -> str:
    for one in rounds:
        for name in _MUST_BE_NONE:
            if one.get(name):
                return f"{one[name]:g} {name}"
    return ""


def print_table(verdicts: Iterable[Verdict], title: str, console: Console) -> None:
    """Print a row for each verdict."""
    table = Table(title=title)
    left = ("line", "what", "peer")
    for heading in (*left, "ours", "theirs", "ratio", "by CPU", "goal", "met", "more"):
        table.add_column(heading, justify="left" if heading in (*left, "more") else "right")
    for one in verdicts:
        line = one.line
        more = ", ".join(f"{name} {one.ours[name]:.4g}" for name in line.show if name in one.ours)
        if one.ours.get("generator %", 0.0) > BUSY:
            more += " [yellow](the generator's limit)[/yellow]"
        table.add_row(
            line.id,
            line.what,
            one.peer,
            f"{one.ours[line.figure]:.4g} {line.figure}" if one.ours else "",
            f"{one.theirs[line.figure]:.4g}" if one.peer else "",
            f"{one.value:.2f}" if one.peer else "",
            "" if one.by_cpu is None else f"{one.by_cpu:.2f}",
            f"{'<' if line.below else '≥'} {line.goal:g}" if line.goal else "",
            "[green]yes" if one.met else f"[red]NO[/red] {one.reason}",
            more,
        )
    console.print(table)


def print_ceilings(found: Mapping[str, tuple[str, Figures]], console: Console) -> None:
    """Print how far each generator gets against a server that does only the system calls."""
    if not found:
        return
    table = Table(title="Ceilings: the same loads on programs that do only the system calls")
    for heading in ("load", "reached", "generator busy"):
        table.add_column(heading, justify="left" if heading == "load" else "right")
    for what, (figure, figures) in found.items():
        busy = f"{figures['generator %']:.0f} %" if "generator %" in figures else ""
        table.add_row(what, f"{figures[figure]:.5g} {figure}", busy)
    console.print(table)


def write_results(
    path: Path,
    verdicts: Iterable[Verdict],
    ceilings: Mapping[str, tuple[str, Figures]],
    about: Mapping[str, Any],
) -> None:
    """Write everything to ``path`` as JSON; ``about`` tells of the run."""
    lines = [
        {
            "line": one.line.id,
            "what": one.line.what,
            "peer": one.peer,
            "figure": one.line.figure,
            "figures": {"ours": one.ours, "theirs": one.theirs},
            "ratio": one.value if one.peer else None,
            "ratio_by_cpu": one.by_cpu,
            "goal": one.line.goal,
            "goal_is": "below" if one.line.below else "at least",
            "met": one.met,
            "reason": one.reason,
            "rounds": {case: list(figures) for case, figures in one.rounds.items()},
        }
        for one in verdicts
    ]
    limits = [
        {"load": what, "figure": figure, "figures": figures}
        for what, (figure, figures) in ceilings.items()
    ]
    text = json.dumps({**about, "lines": lines, "ceilings": limits}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n")
