"""The bound on what goes to an address that has not answered."""

from __future__ import annotations

from bootserve.servers.tftp_budget import ReplyBudget


def spend(budget: ReplyBudget, address: str, now: float, times: int = 10) -> int:
    return sum(budget.spend(address, now) for _ in range(times))


def test_three_datagrams_and_no_more_to_each_address() -> None:
    budget = ReplyBudget()
    assert spend(budget, "192.0.2.1", 0.0) == 3
    assert spend(budget, "192.0.2.1", 14.9) == 0
    assert spend(budget, "192.0.2.2", 14.9) == 3


def test_an_address_is_forgiven_after_a_while_that_doubles() -> None:
    budget = ReplyBudget(forgive=15.0, trust=60.0)
    assert spend(budget, "192.0.2.1", 0.0) == 3
    asked = [(14.9, 0), (15.0, 3), (44.9, 0), (45.0, 3), (104.9, 0), (105.0, 3), (165.0, 3)]
    for now, granted in asked:
        assert spend(budget, "192.0.2.1", now) == granted


def test_in_a_day_few_datagrams_go_to_an_address_that_never_answers() -> None:
    budget = ReplyBudget()
    assert sum(budget.spend("192.0.2.1", second) for second in range(86_400)) < 3 * 150


def test_an_answer_makes_good_for_all_the_times_in_vain() -> None:
    budget = ReplyBudget(forgive=15.0, trust=60.0)
    spend(budget, "192.0.2.1", 0.0)
    spend(budget, "192.0.2.1", 15.0)
    budget.answered("192.0.2.1", 16.0)
    assert spend(budget, "192.0.2.1", 76.0) == 3
    assert spend(budget, "192.0.2.1", 91.0) == 3


def test_an_address_that_answered_is_trusted_for_a_while() -> None:
    budget = ReplyBudget(trust=600.0)
    spend(budget, "192.0.2.1", 0.0)
    assert budget.answered("192.0.2.1", 1.0)
    assert spend(budget, "192.0.2.1", 600.0, 99) == 99
    assert spend(budget, "192.0.2.1", 601.0) == 3


def test_an_answer_says_whether_others_may_have_had_to_wait() -> None:
    budget = ReplyBudget()
    spend(budget, "192.0.2.1", 0.0, 2)
    assert not budget.answered("192.0.2.1", 1.0)
    assert not budget.answered("192.0.2.9", 1.0)


def test_memory_is_bounded_under_a_flood_of_addresses() -> None:
    budget = ReplyBudget(remembered=100)
    for i in range(10_000):
        budget.spend(f"10.0.{i >> 8}.{i & 255}", 0.0)
        budget.answered(f"10.1.{i >> 8}.{i & 255}", 0.0)
    assert len(budget) == 200
