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


def test_time_alone_makes_nothing_good() -> None:
    budget = ReplyBudget()
    assert sum(budget.spend("192.0.2.1", second) for second in range(86_400)) == 3


def test_a_machine_that_starts_anew_gets_another_chance_after_a_pause_that_doubles() -> None:
    budget = ReplyBudget(pause=15.0, trust=60.0)
    budget.again("192.0.2.1")  # of which nothing is known yet
    assert spend(budget, "192.0.2.1", 0.0) == 3
    budget.again("192.0.2.1")
    assert [spend(budget, "192.0.2.1", now) for now in (14.9, 15.0, 600.0)] == [0, 3, 0]
    budget.again("192.0.2.1")
    assert [spend(budget, "192.0.2.1", now) for now in (600.0, 601.0)] == [3, 0]
    for now in (601.0, 659.9):  # 60 seconds by now, and no more ever
        budget.again("192.0.2.1")
        assert spend(budget, "192.0.2.1", now) == 0
    assert spend(budget, "192.0.2.1", 660.0) == 3
    budget.again("192.0.2.1")
    assert spend(budget, "192.0.2.1", 720.0) == 3


def test_one_that_starts_anew_all_the_time_gets_little_in_an_hour() -> None:
    budget, sent = ReplyBudget(), 0
    for second in range(3600):
        budget.again("192.0.2.1")
        sent += budget.spend("192.0.2.1", second)
    assert sent <= 3 * 11


def test_an_answer_makes_good_for_all_the_times_in_vain() -> None:
    budget = ReplyBudget(pause=15.0, trust=60.0)
    spend(budget, "192.0.2.1", 0.0)
    budget.again("192.0.2.1")
    spend(budget, "192.0.2.1", 15.0)
    budget.answered("192.0.2.1", 16.0)
    assert spend(budget, "192.0.2.1", 76.0) == 3
    budget.again("192.0.2.1")
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
