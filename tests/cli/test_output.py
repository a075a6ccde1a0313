"""What is printed: for people on terminals and in pipes, and for programs."""

from __future__ import annotations

import json
import time

import pytest

from bootserve.cli.output import Output, clean, human_size, local_time, report_error
from tests.cli.runner import run_on_terminal, run_program

HOSTILE = "\x1b]0;owned\x07 \x9b31m \r\n\u202e [bold]x[/bold] :warning:"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (68_200_000, "68.2 MB"),
        (999_949, "999.9 kB"),
        (5e12, "5.0 TB"),
        (7e16, "70000.0 TB"),
    ],
)
def test_human_size(count: float, text: str) -> None:
    assert human_size(count) == text


def test_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert local_time(1_700_000_000.9) == "2023-11-15 03:43:20"
    finally:
        monkeypatch.undo()
        time.tzset()
    assert local_time(None) == ""
    assert local_time(1e300) == "1e+300"


def test_clean_makes_everything_unprintable_visible() -> None:
    shown = clean(HOSTILE)
    assert shown.isprintable()
    assert shown.startswith("\\x1b]0;owned\\x07 \\x9b31m \\r\\n\\u202e [bold]")
    assert clean("a\nb", keep="\n") == "a\nb"
    assert clean("Zürich 北京") == "Zürich 北京"


def test_a_table_in_a_pipe_is_whole_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    Output().table(["NAME", ">COUNT", "TEXT"], [["a", 7, long], [HOSTILE, 1234, None]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].endswith(f"      7  {long}")
    assert clean(HOSTILE) in lines[2]
    assert lines[2].endswith("   1234")
    assert all(line == line.rstrip() and line.isprintable() for line in lines)


def test_pairs_keep_the_lines_of_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    Output().pairs([("One", "1"), ("Longer", "a\nb\x1b")])
    assert capsys.readouterr().out == "One     1\nLonger  a\n        b\\x1b\n"


def test_lines_are_not_wrapped_and_not_interpreted(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.line("y" * 300 + " " + HOSTILE)
    out.warning(HOSTILE)
    printed = capsys.readouterr()
    assert printed.out == "y" * 300 + " " + clean(HOSTILE) + "\n"
    assert printed.err == "warning: " + clean(HOSTILE) + "\n"


def test_raw_text_reaches_a_pipe_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    Output().raw("#!ipxe\n\techo \x1b\n")
    assert capsys.readouterr().out == "#!ipxe\n\techo \x1b\n"


def test_json_is_ascii_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": HOSTILE, "at": 1700000000.123456, "none": None}
    Output(json=True).json(value)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert "\x1b" not in printed
    assert json.loads(printed) == value


def test_an_error_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report_error("no \x1b[2J", "see\nthere")
    assert capsys.readouterr().err == "bootserve: no \\x1b[2J\nsee\\nthere\n"


def test_colours_on_a_terminal_only() -> None:
    words = ("config", "show", "--interface", "eth9")
    assert "\x1b[1m" in run_on_terminal(*words).out
    assert "\x1b" not in run_program(*words).out


def test_no_color_is_heeded() -> None:
    coloured = run_on_terminal("--help").out
    plain = run_on_terminal("--help", NO_COLOR="1").out
    assert "\x1b[33m" in coloured or "\x1b[1;36m" in coloured
    assert "\x1b[33m" not in plain
    assert "\x1b[1;36m" not in plain


def test_a_terminal_gets_whole_values_too() -> None:
    shown = run_on_terminal("config", "show", "--interface", "e" * 15).out
    assert "e" * 15 in shown
    assert "…" not in shown
