"""An offer from a form is, byte for byte, the one that would be decided without it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserve.core.exchanges import Exchanges
from bootserve.core.offer_forms import read
from bootserve.core.offers import Destination, OfferSettings, OfferTarget, Reply
from bootserve.core.quirks import Quirk, QuirkTable
from bootserve.core.responder import Answer, Offered, Responder
from bootserve.core.shapes import ShapeBook
from bootserve.model.names import Mac
from bootserve.model.shape import Shape
from bootserve.wire.dhcp import DhcpPacket, build
from bootserve.wire.pxe import ClientArch

SETTINGS = OfferSettings(
    "10.0.0.1",
    "http://10.0.0.1:8080",
    {
        ClientArch.BIOS: "undionly.kpxe",
        ClientArch.EFI_X64: "100%b.efi",  # a name that a template must not take for its own
        ClientArch.RASPBERRY_PI: "start4.elf",
    },
    answer_unknown=True,
)
QUIRKS = QuirkTable(
    [
        Quirk("b", "s", bus_id="01808610fb", nbp="bus.efi"),
        Quirk("q", "s", ouis=("02:aa:bb",), shape="binl", nbp="x.efi"),
    ],
    "pxe10",
)
TARGETS = [
    OfferTarget("n1"),
    OfferTarget("n2", "own.efi"),
    OfferTarget("n3", "", "binl"),
    OfferTarget("n4", "own.kpxe", "pxe10"),
]
OUIS = ["525400", "02aabb", "b827eb"]
FEATURES = b"\x13\1\1\xeb\3\1\0\0"
ON_BUS = FEATURES + bytes.fromhex("b10501808610fb")

macs = st.builds(
    lambda oui, low: bytes.fromhex(oui) + low,
    st.sampled_from(OUIS),
    st.binary(min_size=3, max_size=3),
)
values = st.dictionaries(
    st.sampled_from([12, 43, 50, 55, 57, 61, 67, 77, 93, 94, 97, 175]),
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [b"\0\7", b"\0\0", b"iPXE", FEATURES, ON_BUS, b"\x47\4\0\1\0\0\xff", b"a\x11\0b"]
        ),
    ),
)


headers: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "flags": st.sampled_from([0, 0x8000]),
        "ciaddr": st.sampled_from([bytes(4), b"\x0a\0\0\x09"]),
        "giaddr": st.sampled_from([bytes(4), bytes(4), b"\x0a\0\0\xfe"]),
        "htype": st.sampled_from([1, 1, 1, 6]),
        "hops": st.sampled_from([0, 0, 1]),
        "file": st.sampled_from([b"", b"asked"]),
    }
)


@st.composite
def machines(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """DISCOVERs of machines that ask in the same words, and sometimes in slightly others."""
    options = {53: b"\1", 60: draw(st.sampled_from([b"PXEClient:Arch:0", b"HTTPClient:1"]))}
    options[93] = draw(st.sampled_from([b"\0\7", b"\0\0", b"\0\x10"]))
    options |= draw(values)
    usual = draw(headers)
    with_id, with_uuid = draw(st.booleans()), draw(st.booleans())
    found = []
    for _ in range(draw(st.integers(2, 6))):
        chaddr = draw(macs)
        own = {61: b"\1" + chaddr} if with_id else {}
        if with_uuid:
            tail = chaddr if draw(st.booleans()) else draw(st.binary(min_size=6, max_size=6))
            own[97] = b"\0" + draw(st.binary(min_size=10, max_size=10)) + tail
        said = options | own | (draw(values) if draw(st.integers(0, 5)) == 0 else {})
        said[53] = b"\1"
        header = usual if draw(st.integers(0, 3)) else draw(headers)
        packet = DhcpPacket(
            1, draw(st.integers(0, 2**32 - 1)), chaddr, said, secs=draw(st.integers(0, 9)), **header
        )
        found.append((chaddr, build(packet)))
    return found


def responder(
    targets: dict[Mac, OfferTarget], book: ShapeBook, exchanges: Exchanges | None = None
) -> Responder:
    return Responder(
        SETTINGS,
        targets.get,
        book=book,
        exchanges=Exchanges() if exchanges is None else exchanges,
        on_learned=lambda *_: None,
        on_told=lambda *_: None,
    )


def sent(answer: Offered | Answer) -> tuple[bytes, str, str, Destination | None]:
    if isinstance(answer, Offered):
        kind = answer.what.partition(" to ")[0]
        return answer.data, kind, answer.node, Destination.BROADCAST
    outcome = answer.outcome
    if isinstance(outcome, Reply):
        return outcome.data, outcome.kind, outcome.node, outcome.destination
    return b"", outcome.reason, outcome.node, None


@settings(max_examples=150, deadline=None)
@given(machines(), st.lists(st.sampled_from(TARGETS), min_size=6, max_size=6), st.data())
def test_with_and_without_forms_the_answers_are_the_same(
    asking: list[tuple[bytes, bytes]], chosen: list[OfferTarget], data: st.DataObject
) -> None:
    targets = {chaddr.hex(":"): target for (chaddr, _), target in zip(asking, chosen, strict=False)}
    keeps_forms = responder(targets, ShapeBook(QUIRKS))
    book, exchanges = ShapeBook(QUIRKS), Exchanges()
    order = data.draw(st.lists(st.sampled_from(asking), min_size=2, max_size=12))
    for number, (_, packet) in enumerate(order):
        now = 1000.0 + 4 * number
        has_none = responder(targets, book, exchanges)  # made anew: nothing to go by
        assert sent(keeps_forms.answer(packet, 67, now, now)) == sent(
            has_none.answer(packet, 67, now, now)
        )


USUAL = DhcpPacket(
    1,
    7,
    bytes.fromhex("525400000001"),
    {53: b"\1", 60: b"PXEClient:Arch:00007:UNDI:003016", 93: b"\0\7", 97: bytes(17)},
)


@pytest.mark.parametrize(
    "change",
    [
        {"op": 2},
        {"flags": 0x8000},
        {"hops": 1},
        {"secs": 9},
        {"xid": 9},
        {"htype": 6},
        {"ciaddr": b"\x0a\0\0\x09"},
        {"giaddr": b"\x0a\0\0\xfe"},
        {"giaddr": b"\xff" * 4},
        {"sname": b"x"},
        {"file": b"x"},
        {"chaddr": USUAL.chaddr + b"x"},
        {"chaddr": bytes.fromhex("02aabb000001")},
        *({"options": {**USUAL.options, **one}} for one in (
            {53: b"\3"}, {53: b"\10"}, {54: bytes(4)}, {60: b"HTTPClient"}, {60: b"MSFT"},
            {77: b"iPXE"}, {93: b"\0\0"}, {93: b"\0\6"}, {97: b""}, {97: b"\1" + bytes(16)},
            {97: bytes(18)}, {175: FEATURES}, {43: b"\x47\4\0\1\0\0\xff"}, {82: b"x"},
        )),
    ],
)  # fmt: skip
def test_one_difference_is_enough_not_to_be_taken_for_another(change: dict[str, Any]) -> None:
    targets = {mac: OfferTarget("n1") for mac in ("52:54:00:00:00:01", "02:aa:bb:00:00:01")}
    site = responder(targets, ShapeBook(QUIRKS))
    for at in (1.0, 2.0):
        usual = site.answer(build(USUAL), 67, at, at)
    assert isinstance(usual, Offered)
    other = build(replace(USUAL, **change))
    alone = responder(targets, ShapeBook(QUIRKS))
    assert sent(site.answer(other, 67, 100.0, 1.0)) == sent(alone.answer(other, 67, 100.0, 1.0))


def discover(chaddr: bytes, xid: int, uuid: bytes = bytes(16), **options: bytes) -> bytes:
    words = {53: b"\1", 60: b"PXEClient:Arch:00007:UNDI:003016", 93: b"\0\7", 97: b"\0" + uuid}
    more = {int(code[1:]): value for code, value in options.items()}
    return build(DhcpPacket(1, xid, chaddr, words | more))


@pytest.mark.parametrize(
    "options",
    [{}, {"o61": b"\1" + bytes.fromhex("525400000002"), "o77": b"iPXE", "o175": FEATURES}],
)
def test_the_second_machine_of_a_make_is_answered_from_the_form(options: dict[str, bytes]) -> None:
    site = responder(
        {f"52:54:00:00:00:0{n}": OfferTarget(f"n{n}") for n in (1, 2)}, ShapeBook(QUIRKS)
    )
    one, two = (bytes.fromhex(f"52540000000{n}") for n in (1, 2))
    first = {"o61": b"\1" + one} if options else {}
    assert isinstance(
        site.answer(discover(one, 1, one * 2 + b"wxyz", **(options | first)), 67, 1.0, 1.0), Answer
    )
    offered = site.answer(discover(two, 2, b"abcdefghijklmnop", **options), 67, 1.0, 1.0)
    assert isinstance(offered, Offered)
    assert (offered.mac, offered.node) == ("52:54:00:00:00:02", "n2")
    assert offered.client.mac == offered.mac
    assert offered.data[4:8] == b"\0\0\0\2"
    assert (b"/boot/52-54-00-00-00-02.ipxe" in offered.data) == bool(options)
    assert b"a\x11\0abcdefghijklmnop" in offered.data


@pytest.mark.parametrize("shape", [None, "binl"])
def test_quirks_that_change_put_the_forms_out_of_force(shape: Shape | None) -> None:
    book = ShapeBook(QuirkTable((), "pxe10"))
    target = OfferTarget("n1", "", shape)
    site = responder({"52:54:00:00:00:01": target}, book)
    packet = discover(bytes.fromhex("525400000001"), 1)
    kinds = [sent(site.answer(packet, 67, at, at))[1] for at in (1.0, 100.0)]
    book.quirks = QuirkTable([Quirk("q", "s", ouis=("52:54:00",), shape="binl")], "pxe10")
    kinds += [sent(site.answer(packet, 67, at, at))[1] for at in (200.0, 300.0)]
    before = "offer binl" if shape else "offer nbp"
    assert kinds == [before, before, "offer binl", "offer binl"]


def test_a_flood_of_made_up_machines_grows_nothing() -> None:
    site = responder({}, ShapeBook(QUIRKS))
    for number in range(3000):
        site.answer(discover(number.to_bytes(6, "big"), 1, o12=b"%d" % number), 67, 1.0, 1.0)
    assert len(site._forms._kinds) == 0
    known = responder({"52:54:00:00:00:01": OfferTarget("n1")}, ShapeBook(QUIRKS))
    for number in range(3000):
        packet = discover(bytes.fromhex("525400000001"), 1, o12=b"%d" % number)
        known.answer(packet, 67, 100.0 * number, 1.0)
    assert len(known._forms._kinds) <= 512


@given(st.binary(min_size=240, max_size=400))
def test_anything_can_be_taken_apart(data: bytes) -> None:
    asked = read(data)
    assert asked.chaddr == data[28:34]
