"""Failed logins: how many are borne, from where, and that memory is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.logins import BURST, SECONDS_EACH, LoginLimits


def test_an_address_that_fails_too_often_waits() -> None:
    limits = LoginLimits()
    told = [limits.failed("a", "token:x", 0.0) for _ in range(BURST)]
    assert told == [False] * (BURST - 1) + [True]
    assert limits.wait("a", "token:x", 0.0) == SECONDS_EACH
    assert limits.wait("a", "token:x", SECONDS_EACH) == 0.0
    assert limits.failed("a", "token:x", SECONDS_EACH) is False, "told once"
    assert limits.wait("a", "token:x", SECONDS_EACH) > 0


def test_a_quiet_address_is_forgotten() -> None:
    limits = LoginLimits()
    limits.failed("a", "token:x", 0.0)
    assert limits.held == 2
    assert limits.wait("a", "token:x", BURST * SECONDS_EACH) == 0.0
    assert limits.held == 1


def test_a_subject_is_not_locked_out_from_afar() -> None:
    limits = LoginLimits()
    for i in range(10 * BURST):
        limits.failed(f"10.0.0.{i}", "token:x", 0.0)
    assert limits.wait("here", "token:x", 0.0) == 0.0
    assert limits.wait("10.0.0.1", "token:x", 0.0) > 0, "that address has failed itself"
    assert limits.wait("10.0.0.1", "token:y", 0.0) == 0.0


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.floats(0, 1e6))))
def test_memory_is_bounded(failures: list[tuple[str, str, float]]) -> None:
    limits = LoginLimits(most=5)
    for address, subject, now in failures:
        limits.failed(address, subject, now)
        assert limits.held <= 10
        assert 0.0 <= limits.wait(address, subject, now) <= SECONDS_EACH
