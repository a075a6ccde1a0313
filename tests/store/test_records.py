from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.errors import InvalidInput
from bootserve.model.boot import Boot, Phase
from bootserve.model.generation import GenerationRef
from bootserve.model.once import OnceOutcome
from bootserve.model.shape import SHAPES
from bootserve.store.journal_line import decode_line, decode_record, encode_line
from bootserve.store.records import (
    MAX_DETAIL,
    BootRecord,
    DiscoveredRecord,
    GapRecord,
    JournalRecord,
    OnceRecord,
    PhaseRecord,
    ReportRecord,
    ShapeRecord,
    TokenRecord,
    record_from_dict,
    record_to_dict,
    seen_at,
)

BOOT = Boot(
    id="b1",
    node="n1",
    mac="52:54:00:00:00:01",
    generation=GenerationRef("web", 7),
    digest="a" * 64,
    revision=3,
    minted_at=1000.5,
    address="10.0.0.9",
)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
times = st.floats(0, 1e12)
phases = st.sampled_from([str(phase) for phase in Phase])
outcomes = st.sampled_from([str(outcome) for outcome in OnceOutcome])
records: st.SearchStrategy[JournalRecord] = st.one_of(
    st.builds(BootRecord, words, words, words, words, words, st.integers(0, 1 << 40), times, words),
    st.builds(PhaseRecord, words, phases, times, words),
    st.builds(TokenRecord, words, words, times),
    st.builds(ReportRecord, words, phases, times, words, words, times, words),
    st.builds(DiscoveredRecord, words, times, words, words, words, words, words, words),
    st.builds(ShapeRecord, words, words, st.sampled_from(SHAPES), times),
    st.builds(OnceRecord, words, words, times, outcomes, words, words, words, words, words),
    st.builds(GapRecord, st.integers(1, 1 << 40), times, times),
)


@given(records, st.integers(1, 1 << 60))
def test_a_record_survives_its_line(record: JournalRecord, sequence: int) -> None:
    line = encode_line(sequence, record)
    assert line.count(b"\n") == 1
    decoded = decode_line(line)
    assert decoded is not None
    assert decoded[0] == sequence
    assert decode_record(decoded[1]) == record


@given(records, st.data())
def test_no_changed_byte_passes(record: JournalRecord, data: st.DataObject) -> None:
    line = bytearray(encode_line(12, record))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= 1 << data.draw(st.integers(0, 7))
    assert decode_line(bytes(line)) is None


def test_a_boot_becomes_a_record_and_a_boot_again() -> None:
    record = BootRecord.of(BOOT)
    assert record.generation == "web@7"
    assert record.boot() == BOOT


def test_the_first_line_and_the_end_of_a_long_log_are_what_is_kept() -> None:
    detail = "the reason\n" + "x" * MAX_DETAIL + "the end"
    kept = record_to_dict(ReportRecord("b1", "failed", 1.0, detail=detail))["detail"]
    assert len(kept) == MAX_DETAIL
    assert kept.startswith("the reason\nx")
    assert kept.endswith("xthe end")


def test_a_gap_was_seen_at_its_end() -> None:
    assert seen_at(GapRecord(3, 1.0, 2.0)) == 2.0
    assert seen_at(TokenRecord("b", "h", 5.0)) == 5.0


PHASE = {"kind": "phase", "boot": "b1", "phase": "up", "at": 1.0, "detail": ""}


def test_fields_of_a_later_version_are_left_out() -> None:
    assert record_from_dict(PHASE | {"colour": "red"}) == PhaseRecord("b1", "up", 1.0)


@pytest.mark.parametrize(
    ("said", "kept"), [("\ud800", "?"), ("a\0b", "a?b"), ("grün", "grün"), ("a\nb", "a\nb")]
)
def test_words_that_no_database_takes(said: str, kept: str) -> None:
    assert record_from_dict(PHASE | {"detail": said}) == PhaseRecord("b1", "up", 1.0, kept)


@pytest.mark.parametrize("said", [float("nan"), float("inf")])
def test_a_time_that_is_no_number_becomes_zero(said: float) -> None:
    assert record_from_dict(PHASE | {"at": said}) == PhaseRecord("b1", "up", 0.0)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        {"kind": "party"},
        {"kind": ["phase"]},
        {"kind": "phase", "boot": "b1", "phase": "up"},
        PHASE | {"phase": "lunch"},
        PHASE | {"phase": 3},
        {"kind": "shape", "mac": "m", "node": "n", "shape": "oval", "at": 1.0},
        PHASE | {"boot": None},
        PHASE | {"at": "soon"},
        PHASE | {"at": 10**400},
        {"kind": "gap", "count": 1 << 80, "first_at": 0, "last_at": 0},
        {"kind": "gap", "count": 1.5, "first_at": 0, "last_at": 0},
    ],
)
def test_what_is_no_record_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInput, match="journal"):
        record_from_dict(bad)


refs = st.builds(GenerationRef, words, st.integers(1, 10**9))
boots = st.builds(Boot, words, words, words, refs, words, st.integers(0, 1 << 40), times, words)


@given(boots)
def test_the_line_of_a_boot_is_that_of_its_record(boot: Boot) -> None:
    assert encode_line(7, boot) == encode_line(7, BootRecord.of(boot))
