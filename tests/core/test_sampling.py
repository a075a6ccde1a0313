from __future__ import annotations

from bootserve.core.sampling import Sampler


def test_what_is_no_news_is_counted() -> None:
    sampler = Sampler(10)
    news = [True, False, True, True, False]
    assert [sampler.is_logged(news=one) for one in news] == news
    assert sampler.take() == (5, 2, 0)
    assert sampler.take() == (0, 0, 0)


def test_no_more_than_the_limit_is_logged_in_a_period() -> None:
    sampler = Sampler(3)
    assert [sampler.is_logged(news=True) for _ in range(5)] == [True] * 3 + [False] * 2
    assert not sampler.is_logged(news=False)
    assert sampler.take() == (6, 1, 2)
    assert sampler.is_logged(news=True)
