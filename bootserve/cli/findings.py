"""How findings are shown, and what a command that has some exits with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from bootserve.cli.output import Output, clean
from bootserve.model.finding import Finding, Level, worst

__all__ = ["EXITS", "exit_code", "findings_json", "render_findings"]

EXITS = "Exits with 0 when all is well, 1 with warnings, 2 with errors."
STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "bold red"}


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 0, 1 or 2 for the worst level among ``findings``."""
    return list(Level).index(worst(findings))


def findings_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return ``findings`` for programs."""
    return [
        {"level": one.level, "subject": one.subject, "found": one.found, "action": one.action}
        for one in findings
    ]


def render_findings(out: Output, findings: Sequence[Finding]) -> None:
    """Print one row for each finding: how bad, of what, what was found and what to do.

    On a terminal what to do stands below what was found; in a pipe each finding is one line.
    """
    if out.terminal:
        out.table(["", "ABOUT", "FOUND"], [[*_head(one), _both(one)] for one in findings])
    else:
        out.table(
            ["", "ABOUT", "FOUND", "WHAT TO DO"],
            [[*_head(one), one.found, one.action] for one in findings],
        )
    counts = {level: sum(one.level is level for one in findings) for level in Level}
    words = [f"{counts[level]} {level}s" if level is not Level.OK else f"{counts[level]} ok"
             for level in Level]  # fmt: skip
    out.line(", ".join(words).replace(" 1 errors", " 1 error").replace(" 1 warnings", " 1 warning"))


def _head(one: Finding) -> tuple[Text, str]:
    return Text(one.level, STYLES[one.level]), one.subject


def _both(one: Finding) -> Text:
    text = Text(clean(one.found))
    return text.append(f"\n→ {clean(one.action)}", "bold") if one.action else text
