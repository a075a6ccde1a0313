"""A DHCP server on real interfaces: network namespaces joined by veth pairs, and clients there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from vm_harness.net import Namespace

from bootserve.core.exchanges import Exchanges
from bootserve.core.offers import Ignored, OfferSettings, OfferTarget, Reply, answer
from bootserve.core.quirks import QuirkTable
from bootserve.core.responder import Answer, Offered, Responder
from bootserve.core.shapes import ShapeBook
from bootserve.errors import PacketError
from bootserve.servers.dhcp import DhcpEvent, DhcpServer, Handler
from bootserve.wire.dhcp import DhcpPacket, build, parse
from bootserve.wire.pxe import ClientArch
from tests.support.netns import Link, inside, joined

SERVER, CLIENT = "10.98.0.1", "10.98.0.2"
SETTINGS = OfferSettings(SERVER, f"http://{SERVER}:8080", {ClientArch.EFI_X64: "ipxe.efi"})
MAC = "52:54:00:12:34:56"
DISCOVER = DhcpPacket(
    op=1,
    xid=0xCAFE,
    chaddr=bytes.fromhex(MAC.replace(":", "")),
    flags=0x8000,
    options={53: b"\1", 60: b"PXEClient:Arch:00007", 93: b"\0\7", 97: bytes(17)},
)
REQUEST = replace(DISCOVER, options={**DISCOVER.options, 53: b"\3"})
_ETH_P_IP = 0x0800
_SO_RCVBUFFORCE = 33


def handle(data: bytes, port: int) -> Reply | Ignored:
    return answer(data, port=port, settings=SETTINGS, lookup=lambda _: OfferTarget("web1"))


def as_server(handler: Callable[[bytes, int], Reply | Ignored]) -> Handler:
    """Return a handler without memory as the server calls it."""
    return lambda data, port, _now: Answer(handler(data, port))


def responding() -> Handler:
    """Return a handler that has the memory of the real one, and answers as ``handle`` does."""
    responder = Responder(
        SETTINGS,
        lambda _: OfferTarget("web1"),
        book=ShapeBook(QuirkTable((), SETTINGS.shape)),
        exchanges=Exchanges(),
        on_learned=lambda _learned, _node: None,
        on_told=lambda _mac, _node: None,
    )
    return lambda data, port, now: responder.answer(data, port, now, now)


def event_of(offered: Offered) -> DhcpEvent:
    """An offer from a form as the event that any other offer is."""
    kind = offered.what.partition(" to ")[0]
    return DhcpEvent(kind, 67, client=offered.client, node=offered.node)


def replied(packet: DhcpPacket, port: int = 67) -> bytes:
    """What the policy answers to ``packet``: the server must send exactly this."""
    reply = handle(build(packet), port)
    assert isinstance(reply, Reply)
    return reply.data


def answered(
    client: Namespace, packet: DhcpPacket, look: Callable[[DhcpPacket], bytes], seconds: float
) -> bytes:
    """Broadcast ``packet`` on ``client``'s ``eth1``; return what ``look`` first finds in an answer.

    Empty when no more comes for ``seconds``: other servers answer too, and what they say is passed.
    """
    with inside(client.name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1")
        sock.bind(("", 68))
        sock.sendto(build(packet), ("255.255.255.255", 67))
        sock.settimeout(seconds)
        try:
            while not (found := look(parse(sock.recv(2048)))):
                pass
        except (TimeoutError, PacketError):
            return b""
        return found


@contextlib.contextmanager
def two_namespaces() -> Iterator[tuple[str, str]]:
    """The server's namespace and the client's: ``boot0`` here is joined to ``boot0`` there.

    The server's interface has another address before the one that it advertises, and the server's
    namespace a second interface, ``other0``, joined to the client's ``other0``.
    """
    boot = ("boot0", ["10.98.0.9", SERVER], [CLIENT])
    other: Link = ("other0", ["10.97.0.1"], [])
    with joined("bsdhcp", boot, other) as (server, client):
        yield server, client


@contextlib.asynccontextmanager
async def serving(
    namespace: str,
    handler: Callable[[bytes, int], Reply | Ignored] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[list[DhcpEvent]]:
    events: list[DhcpEvent] = []
    server = DhcpServer(
        interface="boot0",
        address=SERVER,
        handler=as_server(handler) if handler else responding(),
        on_event=events.append,
        on_offers=lambda offers: events.extend(map(event_of, offers)),
        clock=clock,
    )
    with inside(namespace):
        await server.start()
    try:
        yield events
    finally:
        await server.stop()


class Wire:
    """A client without an address: whole Ethernet frames in and out, as firmware has them."""

    def __init__(self, namespace: str, interface: str = "boot0") -> None:
        with inside(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self._socket.bind((interface, _ETH_P_IP))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        self._socket.setblocking(False)

    def send(
        self, payload: bytes, port: int = 67, source: tuple[str, int] = ("0.0.0.0", 68)
    ) -> None:
        frame = (
            Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff")
            / IP(src=source[0], dst="255.255.255.255")
            / UDP(sport=source[1], dport=port)
            / payload
        )
        self._socket.send(bytes(frame))

    async def receive(self, wait: float = 5.0) -> Ether:
        """Return the next UDP frame that the server sent; raises TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(wait):
            while True:
                frame = Ether(await loop.sock_recv(self._socket, 65535))
                if UDP in frame and frame[IP].src != "0.0.0.0":
                    return frame

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def wire(namespace: str, interface: str = "boot0") -> Iterator[Wire]:
    client = Wire(namespace, interface)
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def udp(namespace: str, port: int) -> Iterator[socket.socket]:
    """A client that has its address: an ordinary socket on ``port``."""
    with inside(namespace):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((CLIENT, port))
        sock.setblocking(False)
        yield sock


async def received(sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
    async with asyncio.timeout(5):
        data, source = await asyncio.get_running_loop().sock_recvfrom(sock, 65535)
    return data, source


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (events come through a plain callback)
            await asyncio.sleep(0.005)


@contextlib.contextmanager
def dnsmasq_relay(namespace: str) -> Iterator[None]:
    """dnsmasq as a relay from leaf0 to the server, once it has opened its port."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "dnsmasq", "--keep-in-foreground", "--port=0",
         "--conf-file=/dev/null", "--pid-file=", "--user=root", "--log-facility=-",
         f"--dhcp-relay=10.96.0.1,{SERVER}"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 5
        while not is_open(namespace, 67):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


def is_open(namespace: str, port: int) -> bool:
    out = subprocess.run(
        ["ip", "netns", "exec", namespace, "ss", "-lunH", f"sport = :{port}"],
        check=True, capture_output=True, timeout=10,
    )  # fmt: skip
    return bool(out.stdout.strip())


def ends(frame: Ether) -> tuple[str, str, int, str, int]:
    return frame.dst, frame[IP].src, frame[UDP].sport, frame[IP].dst, frame[UDP].dport
