"""Real firmware before a network that is played to it frame by frame, without root."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.firmware.cases import CASES, HEADINGS, Case, row
from tests.firmware.exchange import Exchange

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.vm
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[] if case.quick else [pytest.mark.matrix])
        for case in CASES
    ],
)
def test_the_firmware_does_what_it_was_seen_to_do(case: Case) -> None:
    seen = Exchange(case.firmware, case.main, case.ours, case.shape).run(limit=240)
    assert case.is_as(seen), seen


def test_the_table_in_the_docs_is_this_one() -> None:
    text = (ROOT / "docs/firmware.md").read_text()
    table = text.partition("<!-- seen -->\n")[2].partition("<!-- end of seen -->")[0]
    rule = "| --- " * len(HEADINGS) + "|"
    lines = [f"| {' | '.join(HEADINGS)} |", rule, *(row(case) for case in CASES)]
    assert table.splitlines() == lines


def test_no_case_is_there_twice() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
