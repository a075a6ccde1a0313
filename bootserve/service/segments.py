"""The network segments that are served: one interface each, with sockets of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path

from bootserve.core.discovery import UnknownPolicy
from bootserve.core.exchanges import Exchanges
from bootserve.core.loops import LoopGuard
from bootserve.core.offers import Ignored, OfferSettings, OfferTarget
from bootserve.core.responder import Answer, Offered, Responder
from bootserve.errors import InvalidInput
from bootserve.model.names import Mac
from bootserve.servers.current import Current
from bootserve.servers.dhcp import DhcpServer
from bootserve.servers.tftp import TftpServer
from bootserve.service.files import nbps_by_arch
from bootserve.service.interface import address_of
from bootserve.service.nbpshelf import NbpShelf
from bootserve.service.ports import Ports
from bootserve.service.shapes import ShapeKeeper
from bootserve.service.sightings import Sightings
from bootserve.settings import Settings

__all__ = ["Segment", "find_networks", "make_segments"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One provisioning interface: what is advertised there, and its DHCP and TFTP servers.

    ``network`` is the advertised address with its prefix, ``http_base`` the boot plane's URL
    without a path, ``http`` the socket that listens for it. An offer names its own segment's
    address alone, and every socket is bound to the interface: a node boots through whichever
    interface it is heard on.
    """

    interface: str
    network: IPv4Interface
    http_base: str
    dhcp: DhcpServer
    tftp: TftpServer
    http: socket.socket


def find_networks(settings: Settings) -> dict[str, IPv4Interface]:
    """Return the address to advertise on each interface, with its prefix, in the settings' order.

    Raises InvalidInput for no interface, one that is not there or has no address, and an address
    that two of them have.
    """
    if not settings.interface:
        raise InvalidInput(
            "no interface to serve on",
            hint="Pass --interface NAME, or set it in the configuration file.",
        )
    networks: dict[str, IPv4Interface] = {}
    for name, wanted in settings.addresses().items():
        network = address_of(name, wanted)
        for other, theirs in networks.items():
            if theirs.ip == network.ip:
                raise InvalidInput(
                    f"interfaces {other} and {name} would both advertise {network.ip}",
                    hint=f"Give one of them another: --address {name}=ADDRESS.",
                )
        networks[name] = network
    return networks


def make_segments(
    settings: Settings,
    ports: Ports,
    nbps: Mapping[str, Path],
    current: Current,
    shapes: ShapeKeeper,
    exchanges: Exchanges,
    sightings: Sightings,
    loops: LoopGuard,
    shelf: NbpShelf,
) -> tuple[Segment, ...]:
    """Return a segment for each interface of ``ports``, not yet started; they share the rest."""
    segments = []
    for interface, bound in ports.segments.items():
        network = bound.network
        http_base = f"http://{network.ip}:{settings.http_port}"
        tftp = TftpServer(
            address=str(network.ip),
            port=settings.tftp_port,
            interface=interface,
            lookup=shelf.read,
            on_event=sightings.tftp,
            requests=bound.tftp,
        )
        responder = _responder(
            settings, network, http_base, nbps, current, shapes, exchanges, shelf, loops
        )
        dhcp = DhcpServer(
            interface=interface,
            address=str(network.ip),
            handler=partial(_answer, responder, loops, sightings, tftp.again),
            on_event=sightings.dhcp,
            on_offers=sightings.offered,
            sockets=bound.dhcp,
        )
        segments.append(Segment(interface, network, http_base, dhcp, tftp, bound.http))
    return tuple(segments)


def _answer(
    responder: Responder,
    loops: LoopGuard,
    sightings: Sightings,
    again: Callable[[str], None],
    data: bytes,
    port: int,
    now: float,
) -> Offered | Answer:
    answer = responder.answer(data, port, now, time.time())
    if isinstance(answer, Offered):
        held = None if answer.kind.is_ipxe else loops.offer(answer.mac, now)
        if held is None:
            return answer
        sightings.looping(answer.node, answer.mac, held)
        return Answer(Ignored(held.refusal, answer.client, answer.node), answer.found)
    if answer.accepted and answer.address:
        again(answer.address)
    outcome, waiting = loops.watch(answer.outcome, now, accepted=answer.accepted)
    if waiting is not None and outcome.client is not None:
        sightings.looping(outcome.node, outcome.client.mac, waiting)
    return answer._replace(outcome=outcome)


def _responder(
    settings: Settings,
    network: IPv4Interface,
    http_base: str,
    nbps: Mapping[str, Path],
    current: Current,
    shapes: ShapeKeeper,
    exchanges: Exchanges,
    shelf: NbpShelf,
    loops: LoopGuard,
) -> Responder:
    offers = OfferSettings(
        address=str(network.ip),
        http_base=http_base,
        nbps=nbps_by_arch(settings, nbps),
        answer_unknown=settings.unknown is not UnknownPolicy.IGNORE,
        shape=settings.uefi_shape,
    )

    def lookup(mac: Mac) -> OfferTarget | None:
        snapshot = current.snapshot
        node = snapshot.fleet.by_mac.get(mac)
        if node is None:
            return None
        pinned = None
        if snapshot.state.nbp_pins:
            pinned = partial(shelf.pinned, snapshot.plan_of(node))
        held = loops.held(mac, time.monotonic()) if mac in loops.holds else ""
        return OfferTarget(node.name, node.nbp, node.shape.fixed, pinned, held)

    return Responder(
        offers,
        lookup,
        book=shapes.book,
        exchanges=exchanges,
        on_learned=shapes.learned,
        on_told=shapes.told,
    )
