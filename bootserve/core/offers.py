"""What to answer a network-boot client's DHCP message: packet and settings in, reply out.

A proxyDHCP server hands out no addresses. It adds to the offer of the DHCP server that is already
there: which program to load, and from where. Nothing here keeps state.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from bootserve.core.quirks import Advice
from bootserve.errors import InvalidInput, PacketError
from bootserve.model.names import Mac
from bootserve.model.shape import SHAPES, Shape
from bootserve.wire.dhcp import (
    BOOTREPLY,
    NO_ADDRESS,
    OPT_BOOTFILE,
    OPT_MESSAGE_TYPE,
    OPT_RELAY_AGENT,
    OPT_SERVER_ID,
    OPT_UUID,
    OPT_VENDOR,
    OPT_VENDOR_CLASS,
    DhcpPacket,
    MessageType,
    build,
    parse,
)
from bootserve.wire.pxe import (
    BOOT_FILE_ONLY,
    HTTP_CLASS,
    PXE_CLASS,
    ClientArch,
    FirmwareKind,
    MenuItem,
    NotBootClient,
    PxeClient,
    build_vendor,
    classify,
)

__all__ = [
    "BINL_PORT",
    "DHCP_PORT",
    "Advise",
    "Destination",
    "Ignored",
    "OfferSettings",
    "OfferTarget",
    "PinnedNbp",
    "Reply",
    "ShapeOf",
    "answer",
    "decide",
]

DHCP_PORT: Final = 67
BINL_PORT: Final = 4011

_BROADCAST: Final = 0x8000  # of the header's flags
_MAX_FILE: Final = 127  # the header's file field, with its NUL
_MAX_HTTP_BASE: Final = 200
_PI_MENU: Final = build_vendor(menu=[MenuItem(0, "Raspberry Pi Boot")], prompt=(0, "PXE"))
_PXE10: Final = build_vendor(control=BOOT_FILE_ONLY)


@dataclass(frozen=True, slots=True)
class OfferSettings:
    """What this server offers, and to whom.

    ``address`` is the IPv4 address that clients reach it at, ``http_base`` the boot plane's URL
    without a path (``http://10.0.0.1:8080``); ``nbps`` maps each architecture that can be served
    to its NBP's file name. ``answer_unknown`` offers to machines that are no node. ``shape`` is
    how a UEFI PXE client is answered: ``pxe10`` (everything in the OFFER) or ``binl`` (the file
    comes in the ACK from port 4011).

    Raises InvalidInput for an address, URL or shape that cannot be offered.
    """

    address: str
    http_base: str
    nbps: Mapping[ClientArch, str]
    answer_unknown: bool = False
    shape: Shape = "pxe10"
    packed_address: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise InvalidInput(f"{self.shape!r} is not an offer shape", hint="pxe10 or binl")
        if not self.http_base.isascii() or len(self.http_base) > _MAX_HTTP_BASE:
            raise InvalidInput(
                f"the HTTP base URL must be ASCII, at most {_MAX_HTTP_BASE} characters"
            )
        try:
            address = ipaddress.IPv4Address(self.address)
        except ValueError:
            raise InvalidInput(f"{self.address!r} is not an IPv4 address") from None
        if address.is_unspecified or address.is_multicast or self.address == "255.255.255.255":
            raise InvalidInput(f"{self.address} is not an address that a client can reach")
        object.__setattr__(self, "packed_address", address.packed)


@dataclass(frozen=True, slots=True)
class PinnedNbp:
    """The file of the NBP that is pinned, or in ``problem`` why there is none to be offered.

    ``own`` is whether the node itself is pinned, not its rack or the site.
    """

    file: str
    own: bool
    problem: str = ""


WAITS: Final = "waits"
"""In the query of a script's URL: the node is in a loop of NBPs, and is told to wait."""


class OfferTarget(NamedTuple):
    """What is known of the node that asks; ``nbp`` and ``shape`` override what else would be.

    ``pinned`` finds the NBP that is pinned for a kind of firmware; ``held`` says why none is
    offered for now.
    """

    name: str
    nbp: str = ""
    shape: Shape | None = None
    pinned: Callable[[ClientArch], PinnedNbp | None] | None = None
    held: str = ""


class Destination(Enum):
    """Where a reply goes."""

    BROADCAST = "broadcast"
    """255.255.255.255 port 68, on the interface that the packet came in on."""
    SOURCE = "source"
    """The address and port that the packet came from."""
    RELAY = "relay"
    """Port 67 of the relay named in the reply (RFC 2131 section 4.1)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, ready to send. ``relay`` is set with Destination.RELAY alone.

    ``kind`` says what is in it: ``offer nbp``, ``offer binl``, ``offer script``, ``offer url``,
    or the same after ``ack``. ``node`` is empty for a machine that is no node.
    """

    data: bytes
    destination: Destination
    kind: str
    client: PxeClient
    node: str
    packet: DhcpPacket
    relay: str = ""

    @property
    def what(self) -> str:
        """What it is, in words: ``offer nbp to pxe efi-x64``."""
        return f"{self.kind} to {self.client.kind} {self.client.arch}"


@dataclass(frozen=True, slots=True)
class Ignored:
    """No answer, and why. What could be read before that was decided is there too."""

    reason: str
    client: PxeClient | None = None
    node: str = ""
    packet: DhcpPacket | None = None


@dataclass(frozen=True, slots=True)
class _Boot:
    """What a reply says about booting: the name to load and the value of option 43."""

    what: str
    file: bytes = b""
    vendor: bytes = b""


Lookup = Callable[[Mac], OfferTarget | None]
Advise = Callable[[PxeClient], Advice]
"""What a client is offered when nothing is set on its node: the quirk table's word."""
ShapeOf = Callable[[PxeClient, OfferTarget, DhcpPacket, Advice], Shape]
"""Chooses the shape for a UEFI PXE client that is about to be answered."""
_UNKNOWN: Final = OfferTarget("")


def answer(data: bytes, *, port: int, settings: OfferSettings, lookup: Lookup) -> Reply | Ignored:
    """Return what to do about the datagram ``data`` that came in on ``port``. Never raises."""
    try:
        packet = parse(data)
    except PacketError as error:
        return Ignored(f"malformed: {error}")
    return decide(packet, port=port, settings=settings, lookup=lookup)


def decide(
    packet: DhcpPacket,
    *,
    port: int,
    settings: OfferSettings,
    lookup: Lookup,
    advise: Advise | None = None,
    shape_of: ShapeOf | None = None,
) -> Reply | Ignored:
    """Return the reply to ``packet``, or why there is none.

    ``port`` is the one of ours that it came in on: 67, or 4011 (PXE 2.1 section 2.2.3). ``lookup``
    finds the node of a MAC; without ``advise`` there are no quirks, without ``shape_of`` a node's
    own shape comes before the advised one. Never raises.
    """
    client = classify(packet)
    if isinstance(client, NotBootClient):
        return Ignored(client.reason, packet=packet)
    if packet.giaddr != NO_ADDRESS and not _is_host(packet.giaddr):
        return Ignored("giaddr is not the address of a relay", client, packet=packet)
    reply_type = _reply_type(packet, port, settings)
    if isinstance(reply_type, str):
        return Ignored(reply_type, client, packet=packet)
    target = lookup(client.mac)
    if target is None:
        if not settings.answer_unknown:
            return Ignored("no node has this MAC address", client, packet=packet)
        target = _UNKNOWN
    advice = advise(client) if advise else Advice(settings.shape)

    def shape() -> Shape:
        if shape_of is not None:
            return shape_of(client, target, packet, advice)
        return target.shape or advice.shape

    boot = _boot(client, reply_type, target, settings, advice.nbp, shape)
    if isinstance(boot, str):
        return Ignored(boot, client, target.name, packet)
    return _reply(packet, client, target, reply_type, boot, settings, port)


def _is_host(address: bytes) -> bool:
    """Whether a reply may be sent to ``address``: no network, loopback, group or broadcast."""
    return address[0] not in (0, 127) and address[0] < 224


def _reply_type(packet: DhcpPacket, port: int, settings: OfferSettings) -> MessageType | str:
    """Return OFFER or ACK, or the reason for neither."""
    asked = packet.message_type
    if asked == MessageType.REQUEST:
        if port == BINL_PORT or packet.options.get(OPT_SERVER_ID) == settings.packed_address:
            return MessageType.ACK
        return "it is a REQUEST to another DHCP server"
    if asked == MessageType.DISCOVER and port == DHCP_PORT:
        return MessageType.OFFER
    try:
        word = MessageType(asked).name
        name = f"{'an' if word == 'INFORM' else 'a'} {word}"
    except ValueError:
        name = "a message of no known type"
    return f"{name} on port {port} asks nothing of a proxyDHCP server"


def _boot(
    client: PxeClient,
    reply_type: MessageType,
    target: OfferTarget,
    settings: OfferSettings,
    advised_nbp: str,
    shape: Callable[[], Shape],
) -> _Boot | str:
    """Return what ``client`` is to load, or the reason for nothing."""
    script = f"{settings.http_base}/boot/{client.mac.replace(':', '-')}.ipxe"
    if client.kind is FirmwareKind.IPXE and (client.features is None or client.features.http):
        return _Boot("script", script.encode(), _vendor(client))
    if target.held:
        # An iPXE whose user class got lost can be told to wait; no other firmware has option 175,
        # and none runs a script. A BIOS would take its text for machine code.
        if client.features is not None and client.features.http:
            return _Boot("script", f"{script}?{WAITS}=1".encode(), _vendor(client))
        return target.held
    name, problem = _nbp(client.arch, target, advised_nbp, settings)
    if not name:
        return problem
    if client.kind is FirmwareKind.HTTP:
        return _Boot("url", f"{settings.http_base}/nbp/{name}".encode())
    if client.arch is ClientArch.RASPBERRY_PI:
        return _Boot("nbp", name.encode(), _PI_MENU)
    if client.kind is FirmwareKind.PXE and client.arch.is_efi and shape() == "binl":
        if reply_type is MessageType.OFFER:
            return _Boot("binl")
        return _Boot("binl", name.encode(), _boot_item(client))
    return _Boot("nbp", name.encode(), _vendor(client))


def _nbp(
    arch: ClientArch, target: OfferTarget, advised: str, settings: OfferSettings
) -> tuple[str, str]:
    """Return the NBP's file name, or why there is none.

    A pin on the node beats the file that the node names, and that beats a pin on its rack or the
    site; a pin that cannot be followed gives way to nothing.
    """
    pinned = target.pinned(arch) if target.pinned else None
    if pinned is not None and (pinned.own or not _suits(target.nbp, arch)):
        return pinned.file, pinned.problem
    for name in (target.nbp, advised):
        if _suits(name, arch):
            return name, ""
    return settings.nbps.get(arch, ""), f"there is no NBP for {arch} on this server"


def _suits(name: str, arch: ClientArch) -> bool:
    """Whether a file of this name is for the firmware's kind.

    A machine can start in BIOS mode today and in UEFI mode tomorrow: ``snponly.efi`` must not
    reach its BIOS.
    """
    return bool(name) and name.lower().endswith(".efi") == arch.is_efi


def _vendor(client: PxeClient) -> bytes:
    if client.boot_item:
        return build_vendor(control=BOOT_FILE_ONLY, boot_item=client.boot_item)
    return _PXE10


def _boot_item(client: PxeClient) -> bytes:
    return build_vendor(boot_item=client.boot_item) if client.boot_item else b""


def _reply(
    packet: DhcpPacket,
    client: PxeClient,
    target: OfferTarget,
    reply_type: MessageType,
    boot: _Boot,
    settings: OfferSettings,
    port: int,
) -> Reply:
    relayed = packet.giaddr != NO_ADDRESS
    ciaddr = packet.ciaddr if reply_type is MessageType.ACK else NO_ADDRESS
    # A relay would send this to the address that it gives out, and it gives out none: dnsmasq's
    # then drops it. RFC 2131 section 4.1: with the flag, a relay broadcasts.
    broadcast = _BROADCAST if relayed and ciaddr == NO_ADDRESS else 0
    reply = DhcpPacket(
        op=BOOTREPLY,
        htype=packet.htype,
        xid=packet.xid,
        flags=packet.flags | broadcast,
        ciaddr=ciaddr,
        siaddr=settings.packed_address,
        giaddr=packet.giaddr,
        chaddr=packet.chaddr,
        sname=settings.address.encode() if client.arch is ClientArch.BIOS else b"",
        # EDK2 prefers option 67 and U-Boot reads this field alone; a longer name fits only there.
        file=boot.file if len(boot.file) <= _MAX_FILE else b"",
        options=_options(packet, reply_type, boot, settings),
    )
    if relayed:
        destination = Destination.RELAY
    else:
        destination = Destination.SOURCE if port == BINL_PORT else Destination.BROADCAST
    return Reply(
        build(reply),
        destination,
        f"{'offer' if reply_type is MessageType.OFFER else 'ack'} {boot.what}",
        client,
        target.name,
        packet,
        ".".join(map(str, packet.giaddr)) if relayed else "",
    )


def _options(
    packet: DhcpPacket, reply_type: MessageType, boot: _Boot, settings: OfferSettings
) -> dict[int, bytes]:
    asked = packet.options
    is_http = asked[OPT_VENDOR_CLASS].startswith(HTTP_CLASS)
    options = {
        OPT_MESSAGE_TYPE: bytes((reply_type,)),
        OPT_SERVER_ID: settings.packed_address,
        OPT_VENDOR_CLASS: HTTP_CLASS if is_http else PXE_CLASS,
    }
    if asked.get(OPT_UUID):
        options[OPT_UUID] = asked[OPT_UUID]
    if boot.vendor:
        options[OPT_VENDOR] = boot.vendor
    if boot.file:
        # Without a NUL, as RFC 2132 section 9.5 has it: EDK2 adds its own, iPXE counts bytes.
        options[OPT_BOOTFILE] = boot.file
    if OPT_RELAY_AGENT in asked and packet.giaddr != NO_ADDRESS:
        options[OPT_RELAY_AGENT] = asked[OPT_RELAY_AGENT]  # RFC 3046 section 2.2: the last option
    return options
