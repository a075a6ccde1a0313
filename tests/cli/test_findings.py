"""Findings on a terminal, in a pipe and for programs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bootserve.cli.findings import exit_code, findings_json, render_findings
from bootserve.cli.output import Output
from bootserve.model.finding import Finding, Level
from tests.cli.runner import run_on_terminal

FINE = Finding(Level.OK, "ports", "UDP 67 is free")
WORSE = Finding(Level.WARNING, "clock", "it is \x1b[31mlate", "Set it.")
WORST = Finding(Level.ERROR, "disk", "it is full", "Free room.")


def test_the_exit_code() -> None:
    assert [exit_code(one) for one in ([], [FINE], [FINE, WORSE], [WORST, WORSE])] == [0, 0, 1, 2]


def test_in_a_pipe_each_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    render_findings(Output(), [FINE, WORSE, WORST])
    out = capsys.readouterr().out
    head, *rows, total = out.splitlines()
    assert head.split() == ["ABOUT", "FOUND", "WHAT", "TO", "DO"]
    assert [re.split(r"  +", row) for row in rows] == [
        ["ok", "ports", "UDP 67 is free"],
        ["warning", "clock", "it is \\x1b[31mlate", "Set it."],
        ["error", "disk", "it is full", "Free room."],
    ]
    assert total == "1 ok, 1 warning, 1 error"


def test_for_programs() -> None:
    assert findings_json([WORST]) == [
        {"level": "error", "subject": "disk", "found": "it is full", "action": "Free room."}
    ]


def test_on_a_terminal_what_to_do_stands_below(tmp_path: Path) -> None:
    shown = run_on_terminal("doctor", "--state-dir", tmp_path, "--interface", "no-such-one")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.out).splitlines()
    at = next(number for number, line in enumerate(lines) if "there is no no-such-one" in line)
    assert lines[at].startswith("error    interface ")
    assert "→ Use one of: lo" in lines[at + 1]
    assert shown.code == 2
    assert all(len(line) <= 80 for line in lines)
