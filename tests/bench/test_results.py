"""What is made of the figures: selection, verdicts, results.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from vm_harness.errors import HarnessError

from bench.__main__ import main, select
from bench.ceilings import CEILINGS
from bench.lines import LINES, WORKS, Line, Work
from bench.loads import Scripts
from bench.results import judge, print_ceilings, print_table, write_results

AT_LEAST = Line("x", "what", "work", "MB/s", "us", 1.2, ("a", "b"))
SAVING = Line("x", "what", "work", "CPU s/GB", "us", 1.0, ("a",), inverse=True)
BELOW = Line("x", "what", "work", "ms", "us", 50, below=True)


def rate(*values: float, failed: float = 0) -> list[dict[str, float]]:
    return [{"MB/s": value, "CPU s/GB": value, "ms": value, "failed": failed} for value in values]


def test_the_medians_are_compared_with_the_better_peer() -> None:
    verdict = judge(AT_LEAST, {"us": rate(130, 120, 20), "a": rate(50, 50, 50), "b": rate(90, 100)})
    assert (verdict.peer, verdict.theirs["MB/s"], verdict.ours["MB/s"]) == ("b", 95, 120)
    assert verdict.value == pytest.approx(120 / 95)
    assert verdict.met


def test_what_falls_short_is_not_met() -> None:
    assert not judge(AT_LEAST, {"us": rate(119), "a": rate(100), "b": rate(1)}).met
    assert judge(AT_LEAST, {"us": rate(120), "a": rate(100), "b": rate(1)}).met


def test_of_what_is_spent_the_peers_is_divided_by_ours() -> None:
    assert judge(SAVING, {"us": rate(2), "a": rate(3)}).value == 1.5
    assert not judge(SAVING, {"us": rate(3), "a": rate(2)}).met


def test_a_line_without_a_goal_is_told_and_can_be_spoilt() -> None:
    told = replace(AT_LEAST, goal=None)
    verdict = judge(told, {"us": rate(1), "a": rate(100), "b": rate(1)})
    assert (verdict.met, verdict.value) == (True, 0.01)
    assert not judge(told, {"us": rate(1, failed=1), "a": rate(1), "b": rate(1)}).met


def test_a_limit_has_no_peer() -> None:
    assert judge(BELOW, {"us": rate(49)}).met
    assert not judge(BELOW, {"us": rate(50)}).met


def test_one_failure_in_one_round_spoils_the_line() -> None:
    rounds = [*rate(900, 900), *rate(900, failed=1)]
    verdict = judge(AT_LEAST, {"us": rounds, "a": rate(1), "b": rate(1, failed=7)})
    assert not verdict.met
    assert verdict.reason == "1 failed"


@pytest.mark.parametrize("missing", ["us", "a", "b"])
def test_what_was_not_measured_is_not_met(missing: str) -> None:
    rounds = {"us": rate(900), "a": rate(1), "b": rate(1), missing: []}
    verdict = judge(AT_LEAST, rounds)
    assert not verdict.met
    assert verdict.reason == f"{missing} could not be measured"


def test_each_line_names_cases_that_are_measured() -> None:
    assert len({line.id for line in LINES}) == len(LINES)
    for line in LINES:
        assert {line.ours, *line.peers} <= set(WORKS[line.work].cases), line.id
    assert {line.work for line in LINES} == set(WORKS)
    assert all(one.works <= set(WORKS) for one in CEILINGS)


def test_lines_are_selected_by_name_and_pattern() -> None:
    assert [line.id for line in select("tftp-1, offers-1*")] == [
        "tftp-1",
        "offers-100",
        "offers-100-bare",
        "offers-10000",
    ]
    assert select("") == list(LINES)
    with pytest.raises(HarnessError, match="no line 'tftp-2'"):
        select("tftp-1,tftp-2")


def test_an_unknown_line_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lines", "nothing"]) == 2
    assert "there is no line 'nothing'" in capsys.readouterr().err


def test_every_line_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    assert all(line.id in said for line in LINES)


def test_results_hold_every_figure(tmp_path: Path) -> None:
    rounds = {"us": rate(120, 130, 140), "a": rate(100, 90, 80), "b": rate(1, 1, 1)}
    verdicts = [judge(AT_LEAST, rounds), judge(BELOW, {"us": rate(70)}), judge(BELOW, {"us": []})]
    ceilings = {"load": ("MB/s", {"MB/s": 500.0, "generator %": 40.0})}
    console = Console(width=200, record=True)
    print_table(verdicts, "title", console)
    print_ceilings(ceilings, console)
    write_results(tmp_path / "results.json", verdicts, ceilings, {"rounds": 3})
    text = console.export_text()
    assert "1.44" in text
    assert "NO" in text
    assert "500 MB/s" in text
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["rounds"] == 3
    line, limit, missing = found["lines"]
    assert (missing["met"], missing["reason"]) == (False, "us could not be measured")
    assert (line["line"], line["peer"], line["goal"], line["met"]) == ("x", "a", 1.2, True)
    assert line["ratio"] == pytest.approx(130 / 90)
    assert line["ratio_by_cpu"] == pytest.approx(90 / 130)
    assert line["figures"]["ours"]["MB/s"] == 130
    assert line["figures"]["theirs"]["MB/s"] == 90
    assert line["rounds"] == rounds
    assert (limit["ratio"], limit["met"], limit["goal_is"]) == (None, False, "below")
    assert found["ceilings"][0]["figures"]["MB/s"] == 500


@pytest.mark.netns
def test_a_line_of_a_real_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ten = {"10": "bootserve 10", "100000": "bootserve 10"}
    work = Work(Scripts(ten, {"10": 10, "100000": 10}, seconds=1), tuple(ten))
    monkeypatch.setitem(WORKS, "scripts-flat", work)
    monkeypatch.setattr("bench.__main__.CEILINGS", ())
    path = tmp_path / "results.json"
    code = main(["--lines", "scripts-flat", "--quick", "--output", str(path)])
    found = json.loads(path.read_text())
    (line,) = found["lines"]
    assert code == (0 if line["met"] else 1)
    for figures in line["figures"].values():
        assert figures["scripts/s"] > 0
        assert figures["failed"] == figures["unrecorded"] == 0
    assert (found["full"], found["quick"], found["rounds"]) == (False, True, 1)
