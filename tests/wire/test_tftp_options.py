"""Option negotiation, a case for each sentence of RFC 2347, 2348, 2349 and 7440 that matters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.wire.tftp_options import Limits, Terms, negotiate
from bootserve.wire.tftp_packets import Options

LIMITS = Limits(blksize=1468, windowsize=64)


def test_rfc1350_without_options_512_bytes_in_lock_step_and_no_oack() -> None:
    assert negotiate((), 1000, LIMITS) == Terms(512, 1, ())


def test_the_options_of_ovmf() -> None:
    asked = (("tsize", "0"), ("blksize", "1468"), ("windowsize", "4"))
    granted = (("tsize", "261120"), ("blksize", "1468"), ("windowsize", "4"))
    assert negotiate(asked, 261120, LIMITS) == Terms(1468, 4, granted)


@pytest.mark.parametrize(
    ("name", "asked", "granted"),
    [
        ("blksize", "8", "8"),
        ("blksize", "1432", "1432"),
        ("blksize", "1469", "1468"),
        ("blksize", "65464", "1468"),
        ("blksize", "99999", "1468"),
        ("windowsize", "1", "1"),
        ("windowsize", "64", "64"),
        ("windowsize", "65", "64"),
        ("windowsize", "65535", "64"),
        ("tsize", "0", "70000"),
    ],
)
def test_what_is_granted(name: str, asked: str, granted: str) -> None:
    assert negotiate(((name, asked),), 70000, LIMITS).granted == ((name, granted),)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("blksize", "abc"),
        ("blksize", ""),
        ("blksize", "7"),
        ("blksize", "0"),
        ("blksize", "-512"),
        ("blksize", "+512"),
        ("blksize", "5_12"),
        ("blksize", " 512"),
        ("blksize", "512.0"),
        ("blksize", "\xb2"),
        ("blksize", "9" * 400),
        ("windowsize", "0"),
        ("windowsize", "many"),
        ("timeout", "5"),
        ("tsize", "size"),
        ("multicast", ""),
        ("multicast", "1"),
    ],
)
def test_rfc2347_what_makes_no_sense_or_binds_the_server_is_ignored(name: str, asked: str) -> None:
    assert negotiate(((name, asked),), 1000, LIMITS) == Terms()


def test_a_senseless_option_does_not_spoil_the_others() -> None:
    terms = negotiate((("blksize", "abc"), ("windowsize", "4")), 1000, LIMITS)
    assert terms == Terms(512, 4, (("windowsize", "4"),))


options: st.SearchStrategy[Options] = st.dictionaries(
    st.sampled_from(["blksize", "windowsize", "timeout", "tsize", "multicast", "x"]),
    st.one_of(
        st.integers(-5, 100_000).map(str), st.text(st.characters(max_codepoint=0xFF), max_size=5)
    ),
).map(lambda chosen: tuple(chosen.items()))


@given(options, st.integers(0, 1 << 40), st.integers(8, 65464), st.integers(1, 64))
def test_nothing_unasked_and_nothing_larger_than_asked(
    asked: Options, size: int, blksize: int, windowsize: int
) -> None:
    terms = negotiate(asked, size, Limits(blksize, windowsize))
    for name, value in terms.granted:
        if name == "tsize":
            assert int(value) == size
        else:
            assert int(value) <= int(dict(asked)[name])
    granted = dict(terms.granted)
    assert str(terms.blksize) == granted.get("blksize", "512")
    assert str(terms.windowsize) == granted.get("windowsize", "1")
    assert "timeout" not in granted


@pytest.mark.parametrize(
    ("mtu", "blksize"), [(1500, 1468), (9000, 8968), (576, 544), (65536, 65464), (30, 8)]
)
def test_blocks_fit_the_mtu(mtu: int, blksize: int) -> None:
    assert Limits.for_mtu(mtu).blksize == blksize
