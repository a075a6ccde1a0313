"""What the demo claims, whether it held, and what shows it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

__all__ = ["Proof", "Teller"]


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim, whether it held, and the evidence seen."""

    claim: str
    held: bool
    evidence: str


class Teller:
    """Tells the demo as it happens, with the seconds since its start, and keeps the proofs."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self.proofs: list[Proof] = []
        self.notes: list[Proof] = []

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self._console.print(f"\n[bold]{self.seconds:6.1f} s  {title}[/bold]")

    def say(self, text: str) -> None:
        """Tell a line."""
        self._console.print(f"{self.seconds:6.1f} s    {text}", markup=False)

    def prove(self, claim: str, held: bool, evidence: str) -> None:
        """Keep a proof and tell it."""
        self.proofs.append(Proof(claim, held, evidence))
        mark = "[green]proved[/green]" if held else "[red bold]NOT SO[/red bold]"
        self._console.print(f"{self.seconds:6.1f} s  {mark}: {claim} ({evidence})")

    def note_time(self, claim: str, limit: float) -> None:
        """Keep for the table whether all took less than ``limit`` seconds.

        It is no proof: a machine that is slow or busy has not shown that anything is wrong.
        """
        evidence = f"{self.seconds:.0f} of {limit:.0f} s"
        self.notes.append(Proof(claim, self.seconds < limit, evidence))

    def table(self) -> None:
        """Print all proofs and notes."""
        table = Table(title="What was proved", title_justify="left", show_lines=False)
        for heading in ("", "claim", "evidence"):
            table.add_column(heading, overflow="fold")
        for proof in self.proofs:
            mark = "[green]yes[/green]" if proof.held else "[red bold]NO[/red bold]"
            table.add_row(mark, proof.claim, proof.evidence)
        for note in self.notes:
            mark = "[green]yes[/green]" if note.held else "[yellow]over[/yellow]"
            table.add_row(mark, note.claim, note.evidence)
        self._console.print()
        self._console.print(table)

    @property
    def all_held(self) -> bool:
        """Whether there are proofs and every one of them held."""
        return bool(self.proofs) and all(proof.held for proof in self.proofs)
