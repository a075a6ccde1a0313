"""The demo's exit code: 0 only when there were proofs and every one of them held."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from vm_harness.demo.__main__ import run
from vm_harness.demo.images import build_both
from vm_harness.demo.proofs import Teller
from vm_harness.errors import HarnessError


def nothing(_teller: Teller) -> None:
    """Prove nothing."""


def good(teller: Teller) -> None:
    teller.prove("this", True, "seen")


def late(teller: Teller) -> None:
    good(teller)
    teller.note_time("in no time", 0)


def one_that_fails(teller: Teller) -> None:
    teller.prove("that", False, "not seen")
    good(teller)


def one_that_breaks_off(teller: Teller) -> None:
    good(teller)
    raise HarnessError("node1: no 'up'\nits console")


@pytest.mark.parametrize(
    ("demo", "code", "row"),
    [
        (good, 0, "yes this seen"),
        (late, 0, "over in no time 0 of 0 s"),
        (one_that_fails, 1, "NO that not seen"),
        (one_that_breaks_off, 1, "NO the demo runs to its end node1: no 'up'"),
        (nothing, 1, "claim evidence"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_the_exit_code_and_the_table(
    demo: Callable[[Teller], None], code: int, row: str, capsys: pytest.CaptureFixture[str]
) -> None:
    teller = Teller(Console(width=120, highlight=False))
    assert run(demo, teller) == code
    said = capsys.readouterr().out
    table = said[said.index("What was proved") :]
    rows = [
        " ".join(line.replace("│", " ").replace("┃", " ").split()) for line in table.split("\n")
    ]
    assert row in rows
    assert ("All of it held" in said) == (code == 0)


BUILD = """\
#!/bin/sh
printf '   0.1 s  definition\\n'
[ -e %(ran)s ] || printf '   0.2 s  download\\n  10.3 s  install\\nan install of ours\\n'
: > %(ran)s
printf '  20.4 s  bundle\\n'
"""


def test_a_build_says_whether_it_installed_packages(tmp_path: Path) -> None:
    program = tmp_path / "build"
    program.write_text(BUILD % {"ran": tmp_path / "ran"})
    program.chmod(0o755)
    told: list[str] = []
    first, second = build_both([str(program)], tmp_path, told.append)
    assert first.stages == ("definition", "download", "install", "bundle")
    assert second.stages == ("definition", "bundle")
    assert (first.installed, second.installed) == (True, False)
    assert "an install of ours" in told
