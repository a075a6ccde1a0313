"""A section of the README, run: its files are written and its commands tried in order.

A block that begins with ``# NAME`` is a file. In a ``console`` block a line that begins with ``$``
is a command of bootserve's, or ``echo $?``; the lines below it are what it prints. There ``…``
stands for any text within a line, a line that is ``…`` alone for any lines, and blanks for some.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import dataclass

from bootserve.cli.main import main

__all__ = ["Command", "Runner", "read_section"]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """One command and what the page says that it prints."""

    text: str
    shown: tuple[str, ...]

    def pattern(self) -> str:
        """Return the regular expression that what it prints has to match."""
        return "".join(
            r"(?:.*\n)*?" if line.strip() == "…" else _spaced(line) + " *\n" for line in self.shown
        )


def _spaced(line: str) -> str:
    """Return a line's expression: blanks are as many as there are, an ellipsis is any text."""
    parts = re.split(r"( +|…)", line.rstrip())
    made = []
    for part in parts:
        if part == "…":
            made.append(".*")
        elif part.isspace():
            made.append(" +")
        else:
            made.append(re.escape(part))
    return "".join(made)


def read_section(page: str, title: str) -> tuple[dict[str, str], list[Command]]:
    """Return the files and the commands of a page's section."""
    section = re.split(r"^## ", page.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]
    files: dict[str, str] = {}
    commands: list[Command] = []
    for kind, text in _BLOCK.findall(section):
        if kind != "console":
            name = re.match(r"# ([\w.-]+)", text)
            assert name, text
            files[name[1]] = text
            continue
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, *shown = part.rstrip("\n").split("\n")
            commands.append(Command(command, tuple(shown)))
    return files, commands


@dataclass
class Runner:
    """Runs commands in this process, and knows how the last one ended."""

    status: int = 0

    def run(self, command: Command) -> str:
        """Run one and return what it printed, on stdout and stderr, in order."""
        words = shlex.split(command.text, comments=True)
        if words == ["echo", "$?"]:
            return f"{self.status}\n"
        assert words[0] == "bootserve", command.text
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            self.status = main(words[1:])
        return said.getvalue()
