from __future__ import annotations

import pytest

from bootserve.core.retransmits import NoUsableOffers, RetransmitTracker

MAC = "52:54:00:12:34:56"
OTHER = "52:54:00:12:34:57"


def repeated(tracker: RetransmitTracker, *times: float, xid: int = 7) -> list[bool]:
    return [tracker.offered(MAC, xid, 1000 + at) is not None for at in times]


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ((0, 4, 12, 28), [False, False, True, False]),
        ((0, 1, 3, 7), [False, False, False, True]),
        ((0, 4, 8), [False, False, True]),
        ((0, 1, 3), [False, False, False]),
        ((0, 7), [False, False]),
        ((0, 44, 88), [False, False, True]),
        ((0, 46, 92), [False, False, False]),
        ((0, 1, 3, 60, 61, 63), [False] * 6),
        ((0, 4, 12, 60, 64, 72), [False, False, True, False, False, True]),
    ],
)
def test_when_it_is_due(times: tuple[float, ...], told: list[bool]) -> None:
    assert repeated(RetransmitTracker(), *times) == told


def test_what_is_found_and_its_words() -> None:
    tracker = RetransmitTracker()
    found = [tracker.offered(MAC, 7, at) for at in (100.0, 104.0, 112.0)][-1]
    assert found == NoUsableOffers(MAC, 7, (0.0, 4.0, 12.0))
    assert str(found) == (
        "the client accepted no usable pair of offers: it repeated its DISCOVER at 0, 4, 12 s and "
        "sent no REQUEST. Either no DHCP server gives it an address, or it takes no boot offer in "
        "this shape"
    )


def test_a_request_shows_that_the_client_accepted() -> None:
    tracker = RetransmitTracker()
    repeated(tracker, 0, 4)
    tracker.requested(MAC)
    assert len(tracker) == 0
    assert repeated(tracker, 12, 13) == [False, False]


def test_a_request_of_an_unknown_client_is_nothing() -> None:
    tracker = RetransmitTracker()
    tracker.requested(MAC)
    assert len(tracker) == 0


def test_another_xid_is_another_exchange() -> None:
    tracker = RetransmitTracker()
    repeated(tracker, 0, 4, xid=1)
    assert repeated(tracker, 12, xid=2) == [False]


def test_clients_do_not_mix() -> None:
    tracker = RetransmitTracker()
    for at in (0.0, 4.0):
        tracker.offered(MAC, 7, at)
    assert tracker.offered(OTHER, 7, 12.0) is None
    assert tracker.offered(MAC, 7, 12.0) is not None


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    tracker = RetransmitTracker(limit=3)
    for at in (0.0, 4.0):
        tracker.offered(MAC, 7, at)
    for number in range(100):
        tracker.offered(f"02:00:00:00:00:{number:02x}", 7, 5.0)
        tracker.offered(OTHER, 7, 5.0 + number / 100)
    assert len(tracker) <= 6
    assert tracker.offered(MAC, 7, 12.0) is None
    assert tracker.offered(OTHER, 7, 12.0) is not None


def test_a_flood_does_not_grow_what_is_found() -> None:
    tracker = RetransmitTracker()
    found = [tracker.offered(MAC, 7, number / 100) for number in range(1000)]
    told = [item for item in found if item]
    assert len(told) == 1
    assert told[0].at[0] == 0
    assert told[0].at[-1] == pytest.approx(6.5)
    assert len(told[0].at) == 16
