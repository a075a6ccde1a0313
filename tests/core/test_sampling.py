from __future__ import annotations

from bootserve.core.sampling import Sampler


def test_what_was_done_within_the_second_is_counted_and_no_news() -> None:
    sampler = Sampler(10)
    assert sampler.is_over(5.0)
    sampler.turn(5.0)
    assert not sampler.is_over(5.9)
    said = [("a", "x"), ("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")]
    assert [sampler.is_news(*one) for one in said] == [True, False, True, True, False]
    assert sampler.take() == (5, 2, 0)
    assert sampler.take() == (0, 0, 0)
    assert sampler.is_over(6.0)
    sampler.turn(6.0)
    assert sampler.is_news("a", "x")


def test_no_more_than_the_limit_is_logged_in_a_second() -> None:
    sampler = Sampler(3)
    sampler.turn(5.0)
    assert [sampler.is_logged() for _ in range(5)] == [True] * 3 + [False] * 2
    assert sampler.take() == (0, 0, 2)
    sampler.turn(6.0)
    assert sampler.is_logged()
