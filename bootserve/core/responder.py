"""The proxyDHCP service without its sockets: a datagram in, what to do about it out.

It joins what has no memory (:mod:`bootserve.core.offers`) to what has
(:mod:`bootserve.core.exchanges`, :mod:`bootserve.core.shapes`), and keeps what it said as forms
(:mod:`bootserve.core.offer_forms`) for the next machine of the same make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from bootserve.core.exchanges import Exchanges, NoUsableOffers
from bootserve.core.offer_forms import Kind, OfferForms, read
from bootserve.core.offers import (
    DHCP_PORT,
    Advise,
    Ignored,
    Lookup,
    OfferSettings,
    OfferTarget,
    Reply,
    ShapeOf,
    decide,
)
from bootserve.core.quirks import Advice
from bootserve.core.shapes import ShapeBook
from bootserve.errors import PacketError
from bootserve.model.names import Mac
from bootserve.model.shape import LearnedShape, Shape
from bootserve.wire.dhcp import NO_ADDRESS, DhcpPacket, MessageType, parse
from bootserve.wire.pxe import FirmwareKind, IpxeFeatures, PxeClient

__all__ = ["Answer", "Offered", "Responder"]

_OPT_REQUESTED_ADDRESS: Final = 50


class Answer(NamedTuple):
    """What to do about a datagram, with the diagnosis of a client that our offers do no good.

    ``news`` is whether the answer is no repetition of the moment before. ``accepted`` is whether it
    is the first REQUEST of a node's firmware after an offer to it, and ``address`` the IPv4 address
    that it asked for then, empty when it named none.
    """

    outcome: Reply | Ignored
    found: NoUsableOffers | None = None
    news: bool = True
    accepted: bool = False
    address: str = ""


class Offered(NamedTuple):
    """An offer from a form: what to send by broadcast to which node, and in words what it is.

    ``kind`` describes the kind of machine: its client's MAC and UUID are those of another one.
    ``news`` is whether it is no repetition of the moment before.
    """

    data: bytes
    mac: Mac
    node: str
    what: str
    kind: Kind
    found: NoUsableOffers | None
    news: bool

    @property
    def client(self) -> PxeClient:
        """The machine itself, but for its UUID."""
        return replace(self.kind.client, mac=self.mac, uuid="")

    @property
    def offer(self) -> str:
        """What kind of reply it is: ``offer nbp``, ``offer script``, …"""
        return self.what.partition(" to ")[0]


class _Noted(NamedTuple):
    """What a DISCOVER that is to be answered shows; None for a client with one shape of answer."""

    shape: Shape | None
    found: NoUsableOffers | None


class Responder:
    """Answers datagrams, and learns from them which shape of offer a client takes.

    ``on_learned`` is called with what is to be remembered of a node, and the node's name;
    ``on_told`` with a MAC and node, when an iPXE told the bus id of its NIC and a quirk needs it.
    """

    def __init__(
        self,
        settings: OfferSettings,
        lookup: Lookup,
        *,
        book: ShapeBook,
        exchanges: Exchanges,
        on_learned: Callable[[LearnedShape, str], None],
        on_told: Callable[[Mac, str], None],
    ) -> None:
        self._settings = settings
        self._lookup = lookup
        self._book = book
        self._exchanges = exchanges
        self._on_learned = on_learned
        self._on_told = on_told
        self._bus_ids = book.bus_ids
        self._forms = OfferForms()
        self._quirks = book.quirks

    def answer(self, data: bytes, port: int, now: float, at: float) -> Offered | Answer:
        """Return what to do about ``data``, which came in on ``port``. Never raises.

        ``now`` is monotonic seconds, ``at`` seconds since the epoch. The diagnosis comes once for
        each exchange of a client.
        """
        if port != DHCP_PORT or len(data) <= 240:
            return self._decide(data, port, now, at, None)
        if self._quirks is not self._book.quirks:
            self._quirks = self._book.quirks
            self._forms.clear()
        asked = read(data)
        mac = asked.chaddr.hex(":")
        kind = self._forms.find(asked, self._bus_ids.get(mac, "") if self._bus_ids else "")
        if kind is None:
            return self._decide(data, port, now, at, None)
        target = self._lookup(mac)
        if target is None or target.held:  # what is not answered is not noted either
            return self._decide(data, port, now, at, None)
        xid = int.from_bytes(data[4:8], "big")
        noted = self._note(mac, xid, target, kind.advice, now, has_shape=kind.has_shape)
        pinned = target.pinned(kind.client.arch) if target.pinned else None
        form = kind.forms.get((target.nbp, pinned, noted.shape))
        if form is None:
            return self._decide(data, port, now, at, noted)
        filled, what = form[0].fill(data, asked, mac), form[1]
        news = self._offered(mac, target.name, kind.client, xid, what, now, at)
        return Offered(filled, mac, target.name, what, kind, noted.found, news)

    def _note(
        self,
        mac: Mac,
        xid: int,
        target: OfferTarget,
        advice: Advice,
        now: float,
        *,
        has_shape: bool,
    ) -> _Noted:
        """Take note of a DISCOVER that is to be answered."""
        found = self._exchanges.repeats(mac, xid, now, known=bool(target.name))
        if not has_shape:
            return _Noted(None, found)
        if target.shape:
            return _Noted(target.shape, found)
        failed = found is not None
        return _Noted(self._book.discover(mac, xid, now, advice, failed=failed), found)

    def _decide(
        self, data: bytes, port: int, now: float, at: float, noted: _Noted | None
    ) -> Answer:
        try:
            packet = parse(data)
        except PacketError as error:
            return Answer(Ignored(f"malformed: {error}"))
        shape: Shape | None = None

        def shape_of(
            client: PxeClient, target: OfferTarget, packet: DhcpPacket, advice: Advice
        ) -> Shape:
            nonlocal noted, shape
            if client.is_probe:
                return target.shape or self._book.peek(client.mac, advice)
            if packet.message_type == MessageType.REQUEST:
                return target.shape or self._book.offered(client.mac, advice)
            noted = noted or self._note(client.mac, packet.xid, target, advice, now, has_shape=True)
            shape = noted.shape
            return shape or advice.shape

        outcome = self._outcome(packet, port, self._lookup, self._advise, shape_of)
        if outcome.client is None or outcome.client.is_probe:
            return Answer(outcome)
        if packet.message_type == MessageType.REQUEST:
            return self._requested(outcome, outcome.client, packet, now, at)
        if isinstance(outcome, Ignored):
            return Answer(outcome)
        if noted is None:
            mac, known = outcome.client.mac, bool(outcome.node)
            noted = _Noted(None, self._exchanges.repeats(mac, packet.xid, now, known=known))
        self._keep(data, outcome, shape)
        client, node = outcome.client, outcome.node
        news = self._offered(client.mac, node, client, packet.xid, outcome.what, now, at)
        return Answer(outcome, noted.found, news)

    def _offered(
        self, mac: Mac, node: str, client: PxeClient, xid: int, what: str, now: float, at: float
    ) -> bool:
        """Take note of an offer to ``mac``, a machine as ``client`` is; return whether it is news.

        ``what`` says it in words.
        """
        known = bool(node)
        if client.kind is not FirmwareKind.IPXE:
            return self._exchanges.offered(mac, xid, now, at, what, known=known)
        self._started(mac, client.features, node, at)
        return self._exchanges.ipxe_offered(mac, xid, now, at, what, client.features, known=known)

    def _outcome(
        self,
        packet: DhcpPacket,
        port: int,
        lookup: Lookup,
        advise: Advise,
        shape_of: ShapeOf,
    ) -> Reply | Ignored:
        return decide(
            packet,
            port=port,
            settings=self._settings,
            lookup=lookup,
            advise=advise,
            shape_of=shape_of,
        )

    def _advise(self, client: PxeClient) -> Advice:
        return self._quirks.advise(client, self._bus_ids.get(client.mac, ""))

    def _keep(self, data: bytes, reply: Reply, shape: Shape | None) -> None:
        """Make a form of an offer, for machines that ask in the same words."""
        client = reply.client
        target = self._lookup(client.mac)
        if target is None or target.held:  # which passes, and is no form for others
            return

        settled: Shape = shape or "pxe10"  # a client that has no choice of shapes is not asked
        bus_id = self._bus_ids.get(client.mac, "")

        def advise(other: PxeClient) -> Advice:
            return self._quirks.advise(other, bus_id)

        def again(other: bytes) -> bytes:
            outcome = self._outcome(
                parse(other), DHCP_PORT, lambda _: target, advise, lambda *_: settled
            )
            return outcome.data if isinstance(outcome, Reply) else b""

        kind = Kind(
            client,
            advise(client),
            has_shape=_has_shape(client),
            is_ipxe=client.kind is FirmwareKind.IPXE,
        )
        pinned = target.pinned(client.arch) if target.pinned else None
        self._forms.keep(data, bus_id, reply, kind, (target.nbp, pinned, shape), again)

    def _accepts(self, client: PxeClient) -> bool:
        return (
            client.kind is not FirmwareKind.IPXE
            and self._exchanges.has_offer(client.mac)
            and self._lookup(client.mac) is not None
        )

    def _requested(
        self,
        outcome: Reply | Ignored,
        client: PxeClient,
        packet: DhcpPacket,
        now: float,
        at: float,
    ) -> Answer:
        """Take note of a REQUEST, and return what it is answered with and what it shows."""
        accepted, address = self._accepts(client), _address_asked_for(packet)
        self._exchanges.requested(client.mac)
        if isinstance(outcome, Reply):
            self._exchanges.acknowledged(
                client, packet.xid, now, at, outcome.what, known=bool(outcome.node)
            )
            if client.kind is FirmwareKind.IPXE:
                self._started(client.mac, client.features, outcome.node, at)
        if isinstance(outcome, Ignored) or not _has_shape(client):
            self._book.accepted(client.mac, address)
        elif learned := self._book.asked(client.mac, at, known=bool(outcome.node)):
            self._on_learned(learned, outcome.node)
        return Answer(outcome, accepted=accepted, address=address)

    def _started(self, mac: Mac, features: IpxeFeatures | None, node: str, at: float) -> None:
        """Take note that an iPXE runs."""
        learned = self._book.started(mac, at, known=bool(node))
        if learned:
            self._on_learned(learned, node)
        if features and node and self._book.told(mac, features.bus_id):
            self._on_told(mac, node)


def _has_shape(client: PxeClient) -> bool:
    """Whether there are two shapes of offer for ``client``: it is UEFI's own PXE client."""
    return client.kind is FirmwareKind.PXE and client.arch.is_efi


def _address_asked_for(packet: DhcpPacket) -> str:
    asked = packet.options.get(_OPT_REQUESTED_ADDRESS, packet.ciaddr)
    named = asked if len(asked) == 4 and asked != NO_ADDRESS else b""
    return ".".join(map(str, named))
