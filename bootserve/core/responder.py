"""The proxyDHCP service without its sockets: a datagram in, what to do about it out.

It joins what has no memory (:mod:`bootserve.core.offers`) to what has
(:mod:`bootserve.core.shapes`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bootserve.core.offers import Ignored, Lookup, OfferSettings, OfferTarget, Reply, decide
from bootserve.core.quirks import Advice
from bootserve.core.retransmits import NoUsableOffers
from bootserve.core.shapes import ShapeBook
from bootserve.errors import PacketError
from bootserve.model.shape import LearnedShape, Shape
from bootserve.wire.dhcp import NO_ADDRESS, DhcpPacket, MessageType, parse
from bootserve.wire.pxe import FirmwareKind, PxeClient

__all__ = ["Responder"]

_OPT_REQUESTED_ADDRESS: Final = 50


class Responder:
    """Answers datagrams, and learns from them which shape of offer a client takes.

    ``on_learned`` is called with what is to be remembered of a node, and the node's name.
    """

    def __init__(
        self,
        settings: OfferSettings,
        lookup: Lookup,
        *,
        book: ShapeBook,
        on_learned: Callable[[LearnedShape, str], None],
    ) -> None:
        self._settings = settings
        self._lookup = lookup
        self._book = book
        self._on_learned = on_learned

    def answer(
        self, data: bytes, port: int, now: float, at: float
    ) -> tuple[Reply | Ignored, NoUsableOffers | None]:
        """Return what to do about ``data``, which came in on ``port``. Never raises.

        ``now`` is monotonic seconds, ``at`` seconds since the epoch. With the answer comes the
        diagnosis of a client that our offers do no good, once for each of its exchanges.
        """
        try:
            packet = parse(data)
        except PacketError as error:
            return Ignored(f"malformed: {error}"), None
        found: list[NoUsableOffers] = []

        def shape_of(
            client: PxeClient, target: OfferTarget, packet: DhcpPacket, advice: Advice
        ) -> Shape:
            shape, diagnosis = self._shape(client, target, packet, advice, now)
            found.extend([diagnosis] if diagnosis else [])
            return shape

        outcome = decide(
            packet,
            port=port,
            settings=self._settings,
            lookup=self._lookup,
            advise=self._book.quirks.advise,
            shape_of=shape_of,
        )
        if outcome.client is None or outcome.client.is_probe:
            return outcome, None
        if packet.message_type == MessageType.REQUEST:
            self._requested(outcome, outcome.client, packet, at)
        elif isinstance(outcome, Reply) and not _has_shape(outcome.client):
            diagnosis = self._book.repeated(outcome.client.mac, packet.xid, now)
            found.extend([diagnosis] if diagnosis else [])
        if isinstance(outcome, Reply) and outcome.client.kind is FirmwareKind.IPXE:
            self._started(outcome.client, outcome.node, at)
        return outcome, found[0] if found else None

    def _shape(
        self,
        client: PxeClient,
        target: OfferTarget,
        packet: DhcpPacket,
        advice: Advice,
        now: float,
    ) -> tuple[Shape, NoUsableOffers | None]:
        if client.is_probe:
            return target.shape or self._book.peek(client.mac, advice), None
        if packet.message_type == MessageType.REQUEST:
            return target.shape or self._book.offered(client.mac, advice), None
        if target.shape:
            return target.shape, self._book.repeated(client.mac, packet.xid, now)
        return self._book.discover(client.mac, packet.xid, now, advice)

    def _requested(
        self, outcome: Reply | Ignored, client: PxeClient, packet: DhcpPacket, at: float
    ) -> None:
        if isinstance(outcome, Ignored) or not _has_shape(client):
            asked = packet.options.get(_OPT_REQUESTED_ADDRESS, packet.ciaddr)
            named = asked if len(asked) == 4 and asked != NO_ADDRESS else b""
            self._book.accepted(client.mac, ".".join(map(str, named)))
            return
        learned = self._book.asked(client.mac, at, known=bool(outcome.node))
        if learned:
            self._on_learned(learned, outcome.node)

    def _started(self, client: PxeClient, node: str, at: float) -> None:
        learned = self._book.started(client.mac, at, known=bool(node))
        if learned:
            self._on_learned(learned, node)


def _has_shape(client: PxeClient) -> bool:
    """Whether there are two shapes of offer for ``client``: it is UEFI's own PXE client."""
    return client.kind is FirmwareKind.PXE and client.arch.is_efi
