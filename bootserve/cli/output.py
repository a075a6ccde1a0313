"""What commands print: tables and lines for people, the API's own answer for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TextIO

from rich.console import Console
from rich.progress import Progress, ProgressColumn
from rich.table import Table
from rich.text import Text

__all__ = [
    "Output",
    "clean",
    "human_size",
    "local_time",
    "report_error",
]

PIPE_WIDTH = 100_000
UNITS = ("kB", "MB", "GB", "TB")


def clean(text: object, *, keep: str = "") -> str:
    """Return ``text`` with every unprintable character but those in ``keep`` written as an escape.

    Much of what is shown was told by machines on the provisioning network, which nobody has
    authenticated: it must not be able to send an escape sequence to an admin's terminal.
    """
    return "".join(
        one if one.isprintable() or one in keep else one.encode("unicode_escape").decode()
        for one in str(text)
    )


def local_time(at: float | None) -> str:
    """Return a time (seconds since the epoch) in local time, to the second; empty for None."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{at:g}"


def human_size(count: float) -> str:
    """Return ``count`` bytes with a decimal unit: ``68.2 MB``."""
    if count < 1000:
        return f"{count:.0f} B"
    power = min(int(math.log10(count)) // 3, len(UNITS))
    return f"{count / 1000**power:.1f} {UNITS[power - 1]}"


def report_error(message: str, hint: str = "", *, stream: TextIO | None = None) -> None:
    """Print ``bootserve: MESSAGE`` and the hint on stderr."""
    target = stream or sys.stderr
    print(f"bootserve: {clean(message)}", file=target)
    if hint:
        print(clean(hint), file=target)


class Output:
    """Where a command prints. ``json`` says that stdout carries JSON and nothing else.

    On a terminal rich lays tables out to its width and colours them (``NO_COLOR`` turns that off);
    in a pipe or a file there are no escape codes and no line is cut or wrapped.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.is_json = json
        self.terminal = sys.stdout.isatty()
        self._out = _console(sys.stdout, self.terminal)
        self._err = _console(sys.stderr, sys.stderr.isatty())

    def json(self, value: Any) -> None:
        """Print ``value`` as JSON, in ASCII so that no terminal acts on it."""
        print(json.dumps(value, indent=2))

    def raw(self, text: str) -> None:
        """Print ``text``: byte for byte in a pipe, with escapes made visible on a terminal."""
        sys.stdout.write(clean(text, keep="\n\t") if self.terminal else text)

    def line(self, text: str, *, style: str = "") -> None:
        """Print one line."""
        self._print(self._out, Text(clean(text), style=style))

    def note(self, text: str, *, style: str = "") -> None:
        """Print one line on stderr."""
        self._print(self._err, Text(clean(text), style=style))

    def warning(self, text: str) -> None:
        """Print a warning on stderr."""
        self.note(f"warning: {text}", style="yellow")

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print ``rows`` under ``headers``; a header that starts with ``>`` is aligned right."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for header in headers:
            table.add_column(
                header.lstrip(">"),
                justify="right" if header.startswith(">") else "left",
                overflow="fold",
            )
        for row in rows:
            table.add_row(*[_cell(value) for value in row])
        self._table(table)

    @staticmethod
    def block(text: str) -> Text:
        """Return ``text`` as a cell that keeps its lines."""
        return Text(clean("\n".join(text.splitlines()), keep="\n"))

    def pairs(self, rows: Iterable[tuple[str, object]]) -> None:
        """Print names and values in two columns; a value of several lines stays in its column."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(name, _cell(value, keep="\n"))
        self._table(table)

    def progress(self, *columns: ProgressColumn) -> Progress:
        """Return a rich progress display on stderr, shown on a terminal only."""
        return Progress(
            *columns, console=self._err, transient=True, disable=not self._err.is_terminal
        )

    @property
    def progress_shown(self) -> bool:
        """Whether stderr is a terminal, where progress is drawn and not listed."""
        return self._err.is_terminal

    def _table(self, table: Table) -> None:
        if self.terminal:
            self._out.print(table)
            return
        with self._out.capture() as captured:
            self._out.print(table)
        for line in captured.get().splitlines():
            print(line.rstrip())

    @staticmethod
    def _print(console: Console, text: Text) -> None:
        console.print(text, soft_wrap=True)


def _console(stream: TextIO, terminal: bool) -> Console:
    return Console(
        file=stream,
        force_terminal=terminal,
        width=None if terminal else PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _cell(value: object, *, keep: str = "") -> Text:
    if isinstance(value, Text):
        return value
    return Text("" if value is None else clean(value, keep=keep))
