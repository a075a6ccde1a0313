"""A probe is answered as the machine would be, and nothing is learned or counted of it."""

from __future__ import annotations

from bootserve.core.disguise import boot_request, discover
from bootserve.core.exchanges import Exchanges
from bootserve.core.judgement import Firmware
from bootserve.core.loops import LoopGuard, LoopLimits
from bootserve.core.offers import BINL_PORT, DHCP_PORT, Ignored, OfferSettings, OfferTarget, Reply
from bootserve.core.quirks import QuirkTable
from bootserve.core.responder import Answer, Offered, Responder
from bootserve.core.shapes import ShapeBook
from bootserve.model.shape import LearnedShape
from bootserve.wire.dhcp import DhcpPacket, build
from bootserve.wire.pxe import OPT_PROBE, ClientArch

MAC = "52:54:00:12:34:56"
SETTINGS = OfferSettings("10.0.0.2", "http://10.0.0.2:8080", {ClientArch.EFI_X64: "ipxe.efi"})
ADDRESS = b"\x0a\0\0\x32"


class Server:
    """What a server remembers, and what it says."""

    def __init__(self) -> None:
        self.learned: list[LearnedShape] = []
        self.book = ShapeBook(QuirkTable((), "pxe10"))
        self.loops = LoopGuard(LoopLimits(nbps=3))
        self.responder = Responder(
            SETTINGS,
            lambda _: OfferTarget("n1"),
            book=self.book,
            exchanges=Exchanges(),
            on_learned=lambda learned, _: self.learned.append(learned),
            on_told=lambda *_: None,
        )

    def answers(self, packet: DhcpPacket, now: float, port: int = DHCP_PORT) -> str:
        answer = self.responder.answer(build(packet), port, now, now)
        assert answer.found is None
        if isinstance(answer, Offered):
            held = None if answer.kind.is_ipxe else self.loops.offer(answer.mac, now)
            return held.refusal if held else answer.what.partition(" to ")[0]
        outcome, _ = self.loops.watch(answer.outcome, now, accepted=answer.accepted)
        return outcome.kind if isinstance(outcome, Reply) else outcome.reason

    def shape(self) -> tuple[str, str]:
        found = self.book.explain(MAC, None)
        return found.shape, found.source


def unmarked(packet: DhcpPacket) -> DhcpPacket:
    options = {code: value for code, value in packet.options.items() if code != OPT_PROBE}
    return DhcpPacket(packet.op, packet.xid, packet.chaddr, options, flags=packet.flags)


def test_repeated_probes_change_no_shape() -> None:
    server = Server()
    for now in (0.0, 4.0, 12.0, 28.0):
        assert server.answers(discover(Firmware.UEFI, MAC, 7), now) == "offer nbp"
    assert server.answers(discover(Firmware.IPXE, MAC, 8), 30.0) == "offer script"
    assert (server.shape(), server.learned) == (("pxe10", "default"), [])


def test_a_probe_is_shown_the_shape_of_a_trial_and_does_not_settle_it() -> None:
    server = Server()
    for now in (0.0, 4.0):
        server.answers(unmarked(discover(Firmware.UEFI, MAC, 7)), now)
    answer = server.responder.answer(
        build(unmarked(discover(Firmware.UEFI, MAC, 7))), DHCP_PORT, 12.0, 12.0
    )
    assert answer.found
    assert server.shape() == ("binl", "trial")
    assert server.answers(discover(Firmware.UEFI, MAC, 9), 13.0) == "offer binl"
    request = boot_request(Firmware.UEFI, MAC, 9, address=ADDRESS)
    assert server.answers(request, 13.5, BINL_PORT) == "ack binl"
    assert server.answers(discover(Firmware.IPXE, MAC, 10), 14.0) == "offer script"
    assert (server.shape(), server.learned) == (("binl", "trial"), [])


def test_probes_are_no_loop_and_see_the_wait_of_one() -> None:
    server = Server()
    for now in range(20):
        assert server.answers(discover(Firmware.UEFI, MAC, now), float(now)) == "offer nbp"
        server.answers(boot_request(Firmware.UEFI, MAC, now, address=ADDRESS), now, BINL_PORT)
    assert len(server.loops) == 0
    for now in range(100, 104):  # the machine itself, which accepts each offer
        server.answers(unmarked(discover(Firmware.UEFI, MAC, now)), float(now))
        request = unmarked(boot_request(Firmware.UEFI, MAC, now, address=ADDRESS))
        answer = server.responder.answer(build(request), DHCP_PORT, now, now)
        assert isinstance(answer, Answer)
        assert isinstance(answer.outcome, Ignored)  # it is to another server
        server.loops.watch(answer.outcome, float(now), accepted=answer.accepted)
    said = server.answers(discover(Firmware.UEFI, MAC, 200), 104.0)
    assert "it loaded its NBP 3 times" in said
    assert "no NBP is offered for" in said
    assert server.answers(discover(Firmware.IPXE, MAC, 201), 104.0) == "offer script"
