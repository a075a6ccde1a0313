"""Host lists and what counts along with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.site.patterns import (
    expand,
    expand_macs,
    fold,
    fold_macs,
    fold_names,
    split_name,
)
from bootserve.errors import InvalidInput
from tests.support.sites import mac


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[08-10]", ["n08", "n09", "n10"]),
        ("n[1-3,07,9]x", ["n1x", "n2x", "n3x", "n07x", "n9x"]),
        ("n[1-7/3]", ["n1", "n4", "n7"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("a[1-2],b,c[5]", ["a1", "a2", "b", "c5"]),
        ("10.0.0.[9-11]", ["10.0.0.9", "10.0.0.10", "10.0.0.11"]),
    ],
)
def test_host_lists(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "macs"),
    [
        ("52:54:00:00:00:[fe-ff]", ["52:54:00:00:00:fe", "52:54:00:00:00:ff"]),
        ("52:54:00:00:[00:ff-01:00]", ["52:54:00:00:00:ff", "52:54:00:00:01:00"]),
        ("52:54:00:00:00:[0A-0c/2]", ["52:54:00:00:00:0a", "52:54:00:00:00:0c"]),
    ],
)
def test_mac_patterns(pattern: str, macs: list[str]) -> None:
    assert expand_macs(pattern) == macs


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("n[1-2", "bracket without its partner"),
        ("n1]", "bracket without its partner"),
        ("n[[1-2]]", "bracket without its partner"),
        ("n[]", "no number or range"),
        ("n[a-b]", "no number or range"),
        ("n[3-1]", "ends before it begins"),
        ("n[01-100]", "different widths"),
        ("n[1-999999999]", "more than 100,000"),
        ("n[1-1000]x[1-1000]", "more than 100,000"),
        ("n[1-90000],m[1-90000]", "more than 100,000"),
    ],
)
def test_bad_host_lists(pattern: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        expand(pattern)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a:[0-ff]", "different shapes"),
        ("a:[:-:]", "no hexadecimal"),
        ("a:[g-h]", "no hexadecimal"),
    ],
)
def test_bad_mac_patterns(pattern: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        expand_macs(pattern)


@given(st.integers(0, 1 << 31), st.integers(1, 64), st.integers(1, 300))
def test_addresses_that_count_up_fold_into_a_pattern(start: int, step: int, count: int) -> None:
    macs = [mac(start + step * place) for place in range(count)]
    pattern = fold_macs(macs)
    assert pattern is not None
    assert expand_macs(pattern) == macs


@given(
    st.lists(st.one_of(st.text("ab019[],.", max_size=5), st.from_regex(r"n[0-9]{1,3}")), min_size=1)
)
def test_what_folds_unfolds(values: list[str]) -> None:
    pattern = fold_names(values)
    assert pattern is None or expand(pattern) == values


@given(
    st.sampled_from(["", "n", "r1-n", "10.1.0."]),
    st.integers(0, 1000),
    st.integers(1, 9),
    st.integers(2, 40),
    st.integers(-4, 2),
    st.sampled_from(["", "x", ".example"]),
)
def test_names_that_count_up_fold_into_a_pattern(
    head: str, start: int, step: int, count: int, zeros: int, end: str
) -> None:
    # with zeros before them, all are as long as the last one, or longer
    width = len(str(start + step * (count - 1))) + zeros if zeros >= 0 else 0
    values = [f"{head}{start + step * place:0{width}d}{end}" for place in range(count)]
    pattern = fold_names(values)
    assert pattern is not None
    assert expand(pattern) == values


@given(st.lists(st.integers(0, 120), min_size=1, unique=True))
def test_numbers_fold_into_a_group(numbers: list[int]) -> None:
    group = fold(sorted(numbers), str)
    assert expand(f"n{group}") == [f"n{number}" for number in sorted(numbers)]


def test_addresses_in_no_order_are_no_pattern() -> None:
    assert fold_macs([mac(1), mac(2), mac(4)]) is None
    assert fold_macs([mac(2), mac(1)]) is None


def test_names_are_split_at_their_last_number() -> None:
    assert split_name("r12n07") == ("r12n", 7, 2, "")
    assert split_name("r12n10") == ("r12n", 10, 0, "")
    assert split_name("n10-a") == ("n", 10, 0, "-a")
    assert split_name("spare") is None
