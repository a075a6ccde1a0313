"""Which shape a client gets, told as exchanges: when it asks, what it is offered, what it takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserve.core.exchanges import Exchanges, NoUsableOffers
from bootserve.core.quirks import Advice, Quirk, QuirkTable
from bootserve.core.shapes import ShapeBook, ShapeChoice
from bootserve.model.shape import SHAPES, LearnedShape, Shape
from bootserve.wire.pxe import ClientArch

MAC = "52:54:00:12:34:56"
PXE10, BINL = Advice("pxe10"), Advice("binl")
EDK2 = (0.0, 4.0, 12.0, 28.0)


class Server(ShapeBook):
    """A book, and the exchanges that its server sees."""

    def __init__(self, quirks: QuirkTable) -> None:
        super().__init__(quirks)
        self.exchanges = Exchanges()

    def asks(
        self, mac: str, xid: int, now: float, advice: Advice
    ) -> tuple[Shape, NoUsableOffers | None]:
        """Have ``mac`` send a DISCOVER; return the shape of its offer, and the diagnosis."""
        found = self.exchanges.repeats(mac, xid, now, known=True)
        shape = self.discover(mac, xid, now, advice, failed=found is not None)
        self.exchanges.offered(mac, xid, now, now, "", known=True)
        return shape, found


@pytest.fixture
def book() -> Server:
    return Server(QuirkTable((), "pxe10"))


def exchange(
    book: Server, xid: int, start: float = 1000.0, advice: Advice = PXE10, mac: str = MAC
) -> list[str]:
    """The shapes offered to a client that takes none of them."""
    return [book.asks(mac, xid, start + at, advice)[0] for at in EDK2]


def test_a_client_that_takes_none_is_offered_both_by_turns(book: Server) -> None:
    assert exchange(book, 1, 1000) == ["pxe10", "pxe10", "binl", "binl"]
    assert exchange(book, 2, 1100) == ["binl", "binl", "pxe10", "pxe10"]
    assert exchange(book, 3, 1200) == ["pxe10", "pxe10", "binl", "binl"]
    assert exchange(book, 3, 1300) == ["binl", "binl", "pxe10", "pxe10"]  # the same xid again
    assert book.learned == {}


def test_the_diagnosis_comes_once_an_exchange(book: Server) -> None:
    found = [book.asks(MAC, 1, 1000 + at, PXE10)[1] for at in EDK2]
    assert [one is not None for one in found] == [False, False, True, False]


def test_asking_for_the_file_shows_that_binl_works(book: Server) -> None:
    exchange(book, 1)
    book.accepted(MAC, "10.0.0.9")
    assert book.offered(MAC, PXE10) == "binl"
    assert book.asked(MAC, 77.0, known=True) == LearnedShape(MAC, "binl", 77.0)
    assert book.started(MAC, 78.0, known=True) is None
    assert book.asks(MAC, 2, 2000, PXE10) == ("binl", None)
    assert book.offered(MAC, PXE10) == "binl"


def test_an_nbp_that_starts_unasked_shows_that_pxe10_works(book: Server) -> None:
    exchange(book, 1, advice=BINL)
    book.accepted(MAC, "10.0.0.9")
    assert book.started(MAC, 77.0, known=True) == LearnedShape(MAC, "pxe10", 77.0)
    assert book.asks(MAC, 2, 2000, BINL) == ("pxe10", None)


def test_what_would_be_offered_anyway_is_not_remembered(book: Server) -> None:
    exchange(book, 1)  # say the DHCP server was down
    assert book.asks(MAC, 2, 2000, PXE10)[0] == "binl"
    exchange(book, 3, 2100)
    assert book.started(MAC, 77.0, known=True) is None
    assert book.learned == {}
    assert book.asks(MAC, 4, 3000, PXE10) == ("pxe10", None)


def test_a_client_that_never_failed_teaches_nothing(book: Server) -> None:
    assert book.asks(MAC, 1, 1000, PXE10) == ("pxe10", None)
    assert book.asked(MAC, 77.0, known=True) is None
    assert book.started(MAC, 77.0, known=True) is None


def test_a_start_that_no_offer_of_ours_explains_teaches_nothing(book: Server) -> None:
    exchange(book, 1)
    assert book.asks(MAC, 2, 2000, PXE10)[0] == "binl"
    assert book.started(MAC, 77.0, known=True) is None  # it was offered BINL alone, and asked not
    assert book.explain(MAC, None).source == "trial"


def test_what_was_learned_is_unlearned_when_it_works_no_more(book: Server) -> None:
    book.restore([LearnedShape(MAC, "binl", 5.0)])
    assert exchange(book, 1) == ["binl", "binl", "pxe10", "pxe10"]
    assert book.started(MAC, 77.0, known=True) == LearnedShape(MAC, "pxe10", 77.0)
    assert book.asks(MAC, 2, 2000, PXE10) == ("pxe10", None)


def test_a_machine_that_is_no_node_is_remembered_in_its_trial_alone(book: Server) -> None:
    exchange(book, 1)
    assert book.asked(MAC, 77.0, known=False) is None
    assert book.learned == {}
    assert book.asks(MAC, 2, 2000, PXE10) == ("binl", None)
    for number in range(1024):
        exchange(book, 1, mac=f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}")
    assert book.asks(MAC, 3, 3000, PXE10) == ("pxe10", None)


def test_the_client_on_trial_is_known_by_the_address_that_it_asked_for(book: Server) -> None:
    book.accepted(MAC, "10.0.0.9")
    assert book.mac_at("10.0.0.9") == ""
    exchange(book, 1)
    book.accepted(MAC, "10.0.0.9")
    assert book.mac_at("10.0.0.9") == MAC
    assert book.mac_at("10.0.0.8") == ""
    exchange(book, 2, 2000)
    assert book.mac_at("10.0.0.9") == ""


def test_of_two_memories_the_later_counts(book: Server) -> None:
    book.restore([LearnedShape(MAC, "pxe10", 9.0), LearnedShape(MAC, "binl", 5.0)])
    assert book.learned == {MAC: LearnedShape(MAC, "pxe10", 9.0)}
    book.restore([LearnedShape(MAC, "binl", 10.0)])
    assert book.learned[MAC].shape == "binl"


def test_what_belongs_to_no_node_any_more_is_forgotten(book: Server) -> None:
    other = LearnedShape("52:54:00:12:34:57", "binl", 1.0)
    book.restore([LearnedShape(MAC, "binl", 1.0), other])
    book.forget_all_but({other.mac})
    assert book.learned == {other.mac: other}


def test_every_reason_is_explained_in_its_order(book: Server) -> None:
    assert book.explain(MAC, None) == ShapeChoice("pxe10", "default")
    quirk = Advice("binl", quirk="old: seen in a run")
    assert book.asks(MAC, 1, 1000, quirk)[0] == "binl"
    assert book.explain(MAC, None) == ShapeChoice("binl", "quirk", "old: seen in a run")
    book.restore([LearnedShape(MAC, "pxe10", 9.0)])
    assert book.explain(MAC, None) == ShapeChoice("pxe10", "learned", at=9.0)
    exchange(book, 2, 2000, quirk)
    assert book.explain(MAC, None) == ShapeChoice("binl", "trial")
    assert book.explain(MAC, "pxe10") == ShapeChoice("pxe10", "setting")


def test_new_quirks_put_old_reasons_out_of_force(book: Server) -> None:
    book.asks(MAC, 1, 1000, Advice("binl", quirk="old"))
    book.quirks = QuirkTable([Quirk("q", "s", vendor_class="x", shape="pxe10")], "binl")
    assert book.explain(MAC, None) == ShapeChoice("binl", "default")


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({"ouis": ("52:54:00",)}, True),
        ({"ouis": ("52:54:01",)}, False),
        ({"ouis": ("52:54:00",), "bus_id": "01808610fb"}, True),
        ({"bus_id": "01808610fc"}, False),
        ({"ouis": ("52:54:00",), "vendor_class": "PXEClient"}, False),
        ({"ouis": ("52:54:00",), "arches": (ClientArch.EFI_X64,)}, False),
    ],
)
def test_a_quirk_by_the_nic_alone_is_explained_before_its_client_was_heard(
    conditions: dict[str, Any], holds: bool
) -> None:
    other = Quirk("other", "s", bus_id="01808610fb", vendor_class="x", nbp="x.efi")
    book = Server(QuirkTable([other, Quirk("q", "seen", shape="binl", **conditions)], "pxe10"))
    book.told(MAC, "01808610fb")
    by_quirk = ShapeChoice("binl", "quirk", "q: seen")
    assert book.explain(MAC, None) == (by_quirk if holds else ShapeChoice("pxe10", "default"))


class Firmware:
    """A client that takes ``works`` alone, and says so as EDK2 does."""

    def __init__(self, works: Shape) -> None:
        self.works = works

    def boots(self, book: Server, xid: int, start: float, advice: Advice) -> bool:
        for at in EDK2:
            shape, _ = book.asks(MAC, xid, start + at, advice)
            if shape == self.works:
                book.accepted(MAC, "10.0.0.9")
                if shape == "binl":
                    book.asked(MAC, start + at, known=True)
                book.started(MAC, start + at, known=True)
                return at < EDK2[-1]
        return False


@given(
    st.sampled_from(SHAPES),
    st.lists(st.tuples(st.sampled_from(SHAPES), st.integers(1, 3)), min_size=1, max_size=8),
)
def test_whatever_a_firmware_takes_it_boots_in_its_first_exchange_and_at_once_from_then_on(
    default: Shape, runs: list[tuple[Shape, int]]
) -> None:
    """Each run is a firmware (an update may change what works) and how often it boots."""
    book = Server(QuirkTable((), default))
    now = 1000.0
    for works, times in runs:
        for time in range(times):
            now += 100
            if time:
                assert book.asks(MAC, int(now), now, Advice(default)) == (works, None)
                now += 100
            assert Firmware(works).boots(book, int(now), now, Advice(default))
