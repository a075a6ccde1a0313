"""What a client's DISCOVERs tell of it when it takes no offer."""

from __future__ import annotations

import pytest

from bootserve.core.exchanges import Exchanges, NoUsableOffers

MAC = "52:54:00:12:34:56"
OTHER = "52:54:00:12:34:57"


def asks(
    exchanges: Exchanges, now: float, mac: str = MAC, xid: int = 7, *, known: bool = True
) -> NoUsableOffers | None:
    """Have ``mac`` send a DISCOVER, which is answered; return the diagnosis."""
    found = exchanges.repeats(mac, xid, now, known=known)
    exchanges.offered(mac, xid, now, now, "", known=known)
    return found


def repeated(exchanges: Exchanges, *times: float, xid: int = 7) -> list[bool]:
    return [asks(exchanges, 1000 + at, xid=xid) is not None for at in times]


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
    assert repeated(Exchanges(), *times) == told


def test_what_is_found_and_its_words() -> None:
    exchanges = Exchanges()
    found = [asks(exchanges, at) for at in (100.0, 104.0, 112.0)][-1]
    assert found == NoUsableOffers(MAC, 7, (0.0, 4.0, 12.0))
    assert str(found) == (
        "the client accepted no usable pair of offers: it repeated its DISCOVER at 0, 4, 12 s and "
        "sent no REQUEST. Either no DHCP server gives it an address, or it takes no boot offer in "
        "this shape"
    )


def test_a_request_shows_that_the_client_accepted() -> None:
    exchanges = Exchanges()
    repeated(exchanges, 0, 4)
    assert exchanges.has_offer(MAC)
    exchanges.requested(MAC)
    assert not exchanges.has_offer(MAC)
    assert repeated(exchanges, 12, 13) == [False, False]
    assert repeated(exchanges, 19) == [True]


def test_a_request_of_an_unknown_client_is_nothing() -> None:
    exchanges = Exchanges()
    exchanges.requested(MAC)
    assert len(exchanges) == 0


def test_another_xid_is_another_exchange() -> None:
    exchanges = Exchanges()
    repeated(exchanges, 0, 4, xid=1)
    assert repeated(exchanges, 12, xid=2) == [False]


def test_clients_do_not_mix() -> None:
    exchanges = Exchanges()
    for at in (0.0, 4.0):
        asks(exchanges, at)
    assert asks(exchanges, 12.0, OTHER) is None
    assert asks(exchanges, 12.0) is not None


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    exchanges = Exchanges(limit=3)
    for at in (0.0, 4.0):
        asks(exchanges, at)
    for number in range(100):
        asks(exchanges, 5.0, f"02:00:00:00:00:{number:02x}")
        asks(exchanges, 5.0 + number / 100, OTHER)
    assert len(exchanges) <= 6
    assert asks(exchanges, 12.0) is None
    assert asks(exchanges, 12.0, OTHER) is not None


def test_a_flood_does_not_grow_what_is_found() -> None:
    exchanges = Exchanges()
    found = [asks(exchanges, number / 100) for number in range(1000)]
    told = [item for item in found if item]
    assert len(told) == 1
    assert told[0].at[0] == 0
    assert told[0].at[-1] == pytest.approx(6.5)
    assert len(told[0].at) == 16


def test_a_flood_of_strangers_does_not_make_a_node_forgotten() -> None:
    exchanges = Exchanges(limit=3, strangers=3)
    repeated(exchanges, 0, 4)
    for number in range(100):
        asks(exchanges, 1005.0, f"02:00:00:00:00:{number:02x}", known=False)
    assert len(exchanges) <= 1 + 6
    assert repeated(exchanges, 12) == [True]


def test_a_stranger_is_told_of_as_well() -> None:
    exchanges = Exchanges()
    found = [asks(exchanges, at, known=False) is not None for at in (0.0, 4.0, 12.0, 28.0)]
    assert found == [False, False, True, False]
    exchanges.requested(MAC)
    assert not exchanges.has_offer(MAC)


def test_what_was_offered_a_moment_ago_is_no_news() -> None:
    exchanges = Exchanges()
    times = ((0.0, 7), (0.5, 7), (1.4, 7), (3.0, 7), (3.1, 8))
    news = [exchanges.offered(MAC, xid, at, at, "", known=True) for at, xid in times]
    assert news == [True, False, False, True, True]
