"""Whole exchanges with the proxyDHCP service, packet by packet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootserve.core.exchanges import Exchanges
from bootserve.core.offers import Ignored, OfferSettings, OfferTarget
from bootserve.core.quirks import Advice, Quirk, QuirkTable
from bootserve.core.responder import Answer, Offered, Responder
from bootserve.core.shapes import ShapeBook
from bootserve.model.names import Mac
from bootserve.model.shape import LearnedShape, Shape
from bootserve.wire.dhcp import DhcpPacket, build
from bootserve.wire.pxe import ClientArch

MAC = "52:54:00:12:ab:56"
OURS = b"\x0a\0\0\1"
THEIRS = b"\x0a\0\0\2"
ADDRESS = b"\x0a\0\0\x09"
SETTINGS = OfferSettings(
    "10.0.0.1",
    "http://10.0.0.1:8080",
    {ClientArch.BIOS: "undionly.kpxe", ClientArch.EFI_X64: "ipxe.efi"},
    answer_unknown=True,
)


class Site:
    """A server, what it learned, and a node's firmware that speaks to it."""

    def __init__(self, *quirks: Quirk, setting: Shape | None = None, known: bool = True) -> None:
        self.learned: list[tuple[LearnedShape, str]] = []
        self.told: list[tuple[Mac, str]] = []
        self.from_forms = 0
        self.book = ShapeBook(QuirkTable(quirks, "pxe10"))
        self.target = OfferTarget("web1", shape=setting) if known else None
        self.responder = Responder(
            SETTINGS,
            self.lookup,
            book=self.book,
            exchanges=Exchanges(),
            on_learned=lambda learned, node: self.learned.append((learned, node)),
            on_told=lambda mac, node: self.told.append((mac, node)),
        )

    def lookup(self, mac: Mac) -> OfferTarget | None:
        return self.target if mac == MAC else None

    def sends(self, kind: int, now: float, *, port: int = 67, arch: int = 7, **changes: Any) -> str:
        """What one packet of the node is answered with: the reply's kind, or the reason."""
        options = {53: bytes((kind,)), 60: b"PXEClient:Arch:0", 93: arch.to_bytes(2, "big")}
        options |= changes.pop("options", {})
        packet = DhcpPacket(1, 7, bytes.fromhex(MAC.replace(":", "")), options)
        data = build(replace(packet, **changes))
        answer = self.responder.answer(data, port, now, now + 5000)
        self.found = answer.found
        self.accepted = isinstance(answer, Answer) and answer.accepted
        self.address = answer.address if isinstance(answer, Answer) else ""
        if isinstance(answer, Offered):
            self.from_forms += 1
            self.file = answer.data[108:236].rstrip(b"\0").decode()
            return answer.what.partition(" to ")[0]
        outcome = answer.outcome
        if isinstance(outcome, Ignored):
            return outcome.reason
        self.file = outcome.data[108:236].rstrip(b"\0").decode()
        return outcome.kind

    def is_offered(self, at: float) -> str:
        """The file that its firmware is offered at its next boot."""
        assert self.sends(1, at, xid=int(at)) in ("offer nbp", "offer binl")
        return self.file

    def fails(self, xid: int = 7, start: float = 100.0, **changes: Any) -> list[str]:
        """An exchange in which it takes no offer."""
        return [self.sends(1, start + at, xid=xid, **changes) for at in (0, 4, 12, 28)]


IPXE = {77: b"iPXE", 175: b"\x13\1\1"}


def test_a_node_that_takes_binl_alone_gets_it_and_is_remembered() -> None:
    site = Site()
    assert site.fails() == ["offer nbp", "offer nbp", "offer binl", "offer binl"]
    asked = {54: THEIRS, 50: ADDRESS}
    assert site.sends(3, 130, options=asked) == "it is a REQUEST to another DHCP server"
    assert site.sends(3, 131, port=4011, xid=9, ciaddr=ADDRESS) == "ack binl"
    assert site.learned == [(LearnedShape(MAC, "binl", 5131.0), "web1")]
    assert site.sends(1, 140, xid=10, options=IPXE) == "offer script"
    assert site.sends(1, 900, xid=11) == "offer binl"
    assert site.sends(3, 901, port=4011, xid=12, ciaddr=ADDRESS) == "ack binl"
    assert len(site.learned) == 1


@pytest.mark.parametrize("arch", [7, 11])
def test_what_it_fetches_by_tftp_tells_what_worked(arch: int) -> None:
    site = Site(Quirk("q", "s", vendor_class="PXEClient", shape="binl", nbp="x.efi"))
    assert site.fails(arch=arch) == ["offer binl", "offer binl", "offer nbp", "offer nbp"]
    site.sends(3, 130, arch=arch, options={54: THEIRS, 50: ADDRESS})
    assert site.book.mac_at("10.0.0.9") == MAC


def test_an_ipxe_that_runs_tells_what_worked() -> None:
    site = Site(Quirk("q", "s", vendor_class="PXEClient", shape="binl"))
    site.fails()
    site.sends(3, 130, options={54: THEIRS, 50: ADDRESS})
    assert site.sends(1, 135, xid=10, options=IPXE) == "offer script"
    assert site.learned == [(LearnedShape(MAC, "pxe10", 5135.0), "web1")]


def test_the_diagnosis_comes_with_the_answer_that_acts_on_it() -> None:
    site = Site()
    site.fails()
    assert site.found is None
    site.sends(1, 200, xid=8)
    site.sends(1, 204, xid=8)
    assert site.found is None
    site.sends(1, 212, xid=8)
    assert site.found is not None
    assert site.found.at == (0.0, 4.0, 12.0)


@pytest.mark.parametrize("setting", ["pxe10", "binl"])
def test_a_shape_that_is_set_is_kept_and_the_failure_told(setting: Shape) -> None:
    site = Site(setting=setting)
    kind = "offer nbp" if setting == "pxe10" else "offer binl"
    assert site.fails() == [kind] * 4
    site.sends(1, 200, xid=8), site.sends(1, 204, xid=8), site.sends(1, 212, xid=8)
    assert site.found is not None
    acked = "ack nbp" if setting == "pxe10" else "ack binl"
    assert site.sends(3, 131, port=4011, ciaddr=ADDRESS) == acked
    assert site.learned == []


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"arch": 0}, "offer nbp"),
        ({"options": IPXE}, "offer script"),
        ({"arch": 16, "options": {60: b"HTTPClient"}}, "offer url"),
    ],
)
def test_a_client_with_one_kind_of_answer_keeps_it(changes: dict[str, Any], kind: str) -> None:
    site = Site()
    assert site.fails(**changes) == [kind] * 4
    site.sends(1, 200, xid=8, **changes), site.sends(1, 204, xid=8, **changes)
    site.sends(1, 212, xid=8, **changes)
    assert site.found is not None


def test_a_node_that_is_held_is_not_taken_for_one_that_takes_no_offer() -> None:
    site = Site()
    assert site.sends(1, 90.0) == "offer nbp"
    site.target = OfferTarget("web1", held="it waits")
    assert site.fails(xid=9) == ["it waits"] * 4
    assert site.found is None
    assert site.book.offered(MAC, Advice("pxe10")) == "pxe10"
    assert site.sends(1, 140.0, options=IPXE) == "offer script"
    site.target = OfferTarget("web1")
    assert site.fails(xid=11, start=200.0)[:2] == ["offer nbp", "offer nbp"]


def test_a_stranger_adapts_too_and_nothing_is_learned() -> None:
    site = Site(known=False)
    assert site.fails()[2:] == ["offer binl", "offer binl"]
    assert site.sends(3, 131, port=4011, ciaddr=ADDRESS) == "ack binl"
    assert (site.learned, site.book.learned) == ([], {})


def test_a_quirks_nbp_gives_way_to_the_nodes_own() -> None:
    site = Site(Quirk("q", "s", vendor_class="PXEClient", nbp="snponly.efi"))
    assert site.is_offered(100) == "snponly.efi"
    site.target = OfferTarget("web1", nbp="own.efi")
    assert site.is_offered(200) == "own.efi"
    site.sends(1, 300, arch=0)
    assert site.file == "undionly.kpxe"


BUS_ID = "01808610fb"
ON_BUS = {77: b"iPXE", 175: b"\x13\1\1\xb1\5" + bytes.fromhex(BUS_ID)}
BY_BUS = Quirk("82599", "s", bus_id=BUS_ID, nbp="snponly.efi")


@pytest.mark.parametrize("before", [0, 2])
def test_what_an_ipxe_tells_of_its_nic_counts_for_the_firmware_from_then_on(before: int) -> None:
    """``before`` is how many other boots there were: of those that an answer's form is kept."""
    site = Site(BY_BUS)
    for number in range(1 + before):
        assert site.is_offered(100 + 100 * number) == "ipxe.efi"
    for number in range(1 + before):
        assert site.sends(1, 500 + 100 * number, xid=5, options=ON_BUS) == "offer script"
    forms = site.from_forms
    assert [site.is_offered(at) for at in (1000, 1100)] == ["snponly.efi"] * 2
    assert site.from_forms == forms + 1
    assert site.told == [(MAC, "web1")]
    assert site.book.bus_ids == {MAC: BUS_ID}
    assert site.book.explain(MAC, None).detail == "82599: s"


def test_a_bus_id_is_kept_of_nodes_and_where_a_quirk_names_it_alone() -> None:
    for site in (Site(BY_BUS, known=False), Site(), Site(replace(BY_BUS, bus_id="01808610fc"))):
        site.sends(1, 100, options=ON_BUS)
        assert site.book.bus_ids == {}
        assert (site.told, site.is_offered(200)) == ([], "ipxe.efi")


def test_a_bus_id_goes_with_its_quirk_and_with_its_node() -> None:
    site = Site(BY_BUS)
    site.sends(1, 100, options=ON_BUS)
    site.book.quirks = QuirkTable((BY_BUS,), "binl")
    assert site.book.bus_ids
    site.book.forget_all_but({MAC})
    assert site.book.bus_ids
    site.book.quirks = QuirkTable((), "pxe10")
    assert (site.book.bus_ids, site.is_offered(200)) == ({}, "ipxe.efi")
    other = Site(BY_BUS)
    other.sends(1, 100, options=ON_BUS)
    other.book.forget_all_but(())
    assert (other.book.bus_ids, other.is_offered(200)) == ({}, "ipxe.efi")


@pytest.mark.parametrize(
    ("known", "changes", "counts"),
    [(True, {}, True), (False, {}, False), (True, {"options": IPXE}, False)],
)
def test_only_a_nodes_firmware_accepts_and_once(
    known: bool, changes: dict[str, Any], counts: bool
) -> None:
    site = Site(known=known)
    site.sends(3, 99.0, **changes)
    assert not site.accepted
    assert site.sends(1, 100.0, **changes).startswith("offer")
    assert not site.accepted
    site.sends(3, 104.0, **changes)
    assert site.accepted is counts
    site.sends(3, 105.0, **changes)
    assert not site.accepted


def test_junk_is_ignored() -> None:
    for data in (b"junk", b"junk" * 100):
        answer = Site().responder.answer(data, 67, 1.0, 1.0)
        assert isinstance(answer, Answer)
        assert isinstance(answer.outcome, Ignored)
        assert (answer.outcome.reason[:9], answer.found) == ("malformed", None)


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({"options": {50: bytes((10, 0, 0, 7))}}, "10.0.0.7"),
        ({"ciaddr": bytes((10, 0, 0, 8))}, "10.0.0.8"),
        ({}, ""),
        ({"options": {50: b"abc"}}, ""),
    ],
)
def test_the_address_that_a_node_accepted(changes: dict[str, Any], address: str) -> None:
    site = Site()
    site.sends(1, 100.0)
    site.sends(3, 104.0, **changes)
    assert (site.accepted, site.address) == (True, address)
