"""The DHCP server on real interfaces: two or three network namespaces joined by veth pairs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from bootserve.core.offers import Ignored, OfferSettings, OfferTarget, Reply, answer
from bootserve.errors import Unavailable
from bootserve.servers.dhcp import DhcpEvent, DhcpServer
from bootserve.wire.dhcp import MAX_PACKET, DhcpPacket, build, parse
from bootserve.wire.pxe import ClientArch

pytestmark = pytest.mark.netns

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
_CLONE_NEWNET = 0x40000000
_ETH_P_IP = 0x0800


def handle(data: bytes, port: int) -> Reply | Ignored:
    return answer(data, port=port, settings=SETTINGS, lookup=lambda _: OfferTarget("web1"))


def replied(packet: DhcpPacket, port: int = 67) -> bytes:
    """What the policy answers to ``packet``: the server must send exactly this."""
    reply = handle(build(packet), port)
    assert isinstance(reply, Reply)
    return reply.data


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let the sockets that are made in the block belong to ``namespace``."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    away = os.open(Path("/run/netns") / namespace, os.O_RDONLY)
    try:
        assert libc.setns(away, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        assert libc.setns(home, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        os.close(home)
        os.close(away)


@pytest.fixture
def net() -> Iterator[tuple[str, str]]:
    """The server's namespace and the client's: ``boot0`` here is joined to ``boot0`` there.

    The server's interface has another address before the one that it advertises, and the server's
    namespace a second interface, ``other0``, joined to the client's ``other0``.
    """
    server, client = (f"bsdhcp{os.getpid()}{side}" for side in ("s", "c"))
    try:
        for name in (server, client):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        for link in ("boot0", "other0"):
            ip("-n", server, "link", "add", link, "type", "veth",
               "peer", "name", link, "netns", client)  # fmt: skip
            for name in (server, client):
                ip("-n", name, "link", "set", link, "up")
        for address in ("10.98.0.9/24", f"{SERVER}/24"):
            ip("-n", server, "address", "add", address, "dev", "boot0")
        ip("-n", server, "address", "add", "10.97.0.1/24", "dev", "other0")
        ip("-n", client, "address", "add", f"{CLIENT}/24", "dev", "boot0")
        yield server, client
    finally:
        for name in (server, client):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@contextlib.asynccontextmanager
async def serving(
    namespace: str,
    handler: Callable[[bytes, int], Reply | Ignored] = handle,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[list[DhcpEvent]]:
    events: list[DhcpEvent] = []
    server = DhcpServer(
        interface="boot0", address=SERVER, handler=handler, on_event=events.append, clock=clock
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
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (events come through a plain callback)
            await asyncio.sleep(0.005)


def ends(frame: Ether) -> tuple[str, str, int, str, int]:
    return frame.dst, frame[IP].src, frame[UDP].sport, frame[IP].dst, frame[UDP].dport


async def test_a_discover_is_answered_by_broadcast_from_the_advertised_address(
    net: tuple[str, str],
) -> None:
    async with serving(net[0]) as events:
        with wire(net[1]) as client:
            client.send(build(DISCOVER))
            frame = await client.receive()
    assert ends(frame) == ("ff:ff:ff:ff:ff:ff", SERVER, 67, "255.255.255.255", 68)
    assert bytes(frame[UDP].payload) == replied(DISCOVER)
    [event] = events
    assert event.client is not None
    assert event == DhcpEvent(
        "offer nbp", 67, ("0.0.0.0", 68), event.client, node="web1", reason="", xid=0xCAFE
    )
    assert event.client.mac == MAC


async def test_another_interface_is_not_served(net: tuple[str, str]) -> None:
    async with serving(net[0]) as events:
        with wire(net[1], "other0") as other, wire(net[1]) as client:
            other.send(build(DISCOVER))
            client.send(build(DISCOVER))
            await client.receive()
            with pytest.raises(TimeoutError):
                await other.receive(0.2)
    assert len(events) == 1


@pytest.mark.parametrize("port", [4011, 68, 40000])
async def test_a_request_on_4011_is_answered_to_its_source(net: tuple[str, str], port: int) -> None:
    request = replace(REQUEST, ciaddr=socket.inet_aton(CLIENT))
    async with serving(net[0]) as events:
        with udp(net[1], port) as client:
            client.sendto(build(request), (SERVER, 4011))
            assert await received(client) == (replied(request, 4011), (SERVER, 4011))
    assert [(event.kind, event.source) for event in events] == [("ack nbp", (CLIENT, port))]


async def test_a_request_on_4011_without_a_source_address_is_answered_by_broadcast(
    net: tuple[str, str],
) -> None:
    async with serving(net[0]):
        with wire(net[1]) as client:
            client.send(build(REQUEST), port=4011)
            frame = await client.receive()
    assert ends(frame) == ("ff:ff:ff:ff:ff:ff", SERVER, 4011, "255.255.255.255", 68)
    assert bytes(frame[UDP].payload) == replied(REQUEST, 4011)


async def test_a_relayed_discover_is_answered_to_the_relay(net: tuple[str, str]) -> None:
    packet = replace(
        DISCOVER,
        giaddr=socket.inet_aton(CLIENT),
        hops=1,
        options={**DISCOVER.options, 82: b"\1\4eth1"},
    )
    async with serving(net[0]):
        with udp(net[1], 67) as relay, udp(net[1], 4068) as elsewhere:
            # The answer goes to giaddr and port 67, whatever the packet's source was.
            elsewhere.sendto(build(packet), (SERVER, 67))
            assert await received(relay) == (replied(packet), (SERVER, 67))
    assert parse(replied(packet)).options[82] == b"\1\4eth1"


async def test_a_real_relay_takes_the_offer_to_a_client_on_another_network(
    net: tuple[str, str],
) -> None:
    server, relay = net
    leaf = f"{relay}l"
    ip("netns", "add", leaf)
    try:
        ip("-n", relay, "link", "add", "leaf0", "type", "veth", "peer", "name", "boot0",
           "netns", leaf)  # fmt: skip
        ip("-n", relay, "address", "add", "10.96.0.1/24", "dev", "leaf0")
        ip("-n", relay, "link", "set", "leaf0", "up")
        ip("-n", leaf, "link", "set", "boot0", "up")
        ip("-n", server, "route", "add", "10.96.0.0/24", "via", CLIENT)
        async with serving(server):
            with dnsmasq_relay(relay), wire(leaf) as client:
                client.send(build(DISCOVER))
                frame = await client.receive()
    finally:
        ip("netns", "del", leaf)
    reply = parse(bytes(frame[UDP].payload))
    assert (frame[IP].src, frame[UDP].dport) == ("10.96.0.1", 68)
    assert reply.giaddr == socket.inet_aton("10.96.0.1")
    assert replace(reply, giaddr=bytes(4)) == parse(replied(DISCOVER))


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


async def test_junk_on_both_ports_leaves_it_serving(net: tuple[str, str]) -> None:
    rng = random.Random(7)
    whole = build(DISCOVER)
    junk = [rng.randbytes(rng.randrange(1200)) for _ in range(40)]
    junk += [whole[: rng.randrange(240)] for _ in range(40)]
    junk += [whole[:240] + rng.randbytes(60).replace(b"\0", b"\1") for _ in range(40)]
    junk += [whole.ljust(MAX_PACKET + 1, b"\0"), rng.randbytes(65507), b""]
    async with serving(net[0]) as events:
        with udp(net[1], 68) as sender, wire(net[1]) as client:
            for port in (67, 4011):
                for at, data in enumerate(junk, start=1 if port == 67 else len(junk) + 1):
                    sender.sendto(data, (SERVER, port))
                    await until(lambda expected=at: len(events) >= expected)  # type: ignore[misc]
            assert len(events) == 2 * len(junk)
            client.send(build(DISCOVER))
            assert bytes((await client.receive())[UDP].payload) == replied(DISCOVER)
            sender.sendto(build(REQUEST), (SERVER, 4011))
            assert (await received(sender))[0] == replied(REQUEST, 4011)
    assert {event.kind for event in events[:-2]} == {"ignored"}
    assert all(event.reason for event in events[:-2])
    assert f"malformed: {MAX_PACKET + 1} bytes are too many for a DHCP message (4096 at most)" in {
        event.reason for event in events
    }


async def test_a_burst_is_answered_whole(net: tuple[str, str]) -> None:
    sent = [replace(DISCOVER, xid=number) for number in range(300)]
    async with serving(net[0]) as events:
        with wire(net[1]) as client:
            for packet in sent:
                client.send(build(packet))
            answers = [bytes((await client.receive())[UDP].payload) for _ in sent]
    assert answers == [replied(packet) for packet in sent]
    assert len(events) == 300


async def test_a_storm_is_queued_whole_and_other_work_goes_on_meanwhile(
    net: tuple[str, str],
) -> None:
    counts: list[int] = []

    async with serving(net[0]) as events:
        with wire(net[1]) as client:
            for number in range(1500):  # the loop does not run meanwhile: all of it queues up
                client.send(build(replace(DISCOVER, xid=number)))
            async with asyncio.timeout(10):
                while len(events) < 1500:
                    counts.append(len(events))
                    await asyncio.sleep(0)
    counts.append(len(events))
    assert max(later - earlier for earlier, later in itertools.pairwise(counts)) <= 64


async def test_a_reply_that_cannot_be_sent_is_an_event(net: tuple[str, str]) -> None:
    def unplugged(data: bytes, port: int) -> Reply | Ignored:
        if parse(data).xid == 1:
            ip("-n", net[0], "link", "set", "boot0", "down")
        return handle(data, port)

    async with serving(net[0], unplugged) as events:
        with wire(net[1]) as client:
            client.send(build(replace(DISCOVER, xid=1)))
            await until(lambda: len(events) == 1)
            ip("-n", net[0], "link", "set", "boot0", "up")
            client.send(build(DISCOVER))
            await client.receive()
    assert [(event.kind, event.reason) for event in events] == [
        ("send failed", "offer nbp: ENETUNREACH (Network is unreachable)"),
        ("offer nbp", ""),
    ]


async def test_a_reply_that_the_firewall_forbids_is_an_event(net: tuple[str, str]) -> None:
    rules = "table ip t { chain c { type filter hook output priority 0; udp sport 67 drop; }; }"
    ip("netns", "exec", net[0], "nft", rules)
    async with serving(net[0]) as events:
        with wire(net[1]) as client:
            client.send(build(DISCOVER))
            await until(lambda: len(events) == 1)
    assert (events[0].kind, events[0].reason) == (
        "send failed",
        "offer nbp: EPERM (Operation not permitted)",
    )


async def test_it_serves_again_after_the_interface_was_down(net: tuple[str, str]) -> None:
    async with serving(net[0]) as events:
        ip("-n", net[0], "link", "set", "boot0", "down")
        await asyncio.sleep(0.05)
        ip("-n", net[0], "link", "set", "boot0", "up")
        with wire(net[1]) as client:
            client.send(build(DISCOVER))
            assert bytes((await client.receive())[UDP].payload) == replied(DISCOVER)
    assert [event.kind for event in events if event.kind != "receive failed"] == ["offer nbp"]


async def test_a_client_that_our_offers_do_no_good_is_named(net: tuple[str, str]) -> None:
    now = iter([0.0, 4.0, 12.0])
    async with serving(net[0], clock=lambda: next(now)) as events:
        with wire(net[1]) as client:
            for _ in range(3):
                client.send(build(DISCOVER))
                await client.receive()
    assert [event.kind for event in events] == ["offer nbp"] * 3 + ["no usable offers"]
    assert events[3].client == events[2].client
    assert (events[3].node, events[3].xid) == ("web1", 0xCAFE)
    assert events[3].reason.startswith(
        "the client accepted no usable pair of offers: it repeated its DISCOVER at 0, 4, 12 s"
    )


async def test_a_request_to_the_dhcp_server_shows_that_all_is_well(net: tuple[str, str]) -> None:
    now = iter([0.0, 4.0, 12.0])
    async with serving(net[0], clock=lambda: next(now)) as events:
        with wire(net[1]) as client:
            for packet in (DISCOVER, DISCOVER, REQUEST, DISCOVER):
                client.send(build(packet))
                await asyncio.sleep(0.02)
            await until(lambda: len(events) == 4)
    assert [event.kind for event in events] == ["offer nbp", "offer nbp", "ignored", "offer nbp"]


@pytest.mark.parametrize("port", [67, 4011])
async def test_a_taken_port_is_named_and_nothing_stays_open(
    net: tuple[str, str], port: int
) -> None:
    with inside(net[0]):
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with holder:
        holder.bind(("", port))
        with pytest.raises(Unavailable) as refused:
            async with serving(net[0]):
                pass
        assert str(refused.value) == f"UDP port {port} on boot0 is taken by another program"
        assert f"sport = :{port}" in refused.value.hint
        assert "dnsmasq" in refused.value.hint
    async with serving(net[0]):
        pass  # both ports are free again


async def test_a_second_server_is_refused(net: tuple[str, str]) -> None:
    async with serving(net[0]):
        with pytest.raises(Unavailable, match="UDP port 67 on boot0 is taken"):
            async with serving(net[0]):
                pass


async def test_a_missing_interface_is_named(net: tuple[str, str]) -> None:
    ip("-n", net[0], "link", "del", "boot0")
    with pytest.raises(Unavailable) as refused:
        async with serving(net[0]):
            pass
    assert str(refused.value) == "there is no interface boot0"


def test_a_user_without_the_right_to_bind_is_told(net: tuple[str, str]) -> None:
    program = (
        "import asyncio\n"
        "from bootserve.errors import Unavailable\n"
        "from bootserve.servers.dhcp import DhcpServer\n"
        "server = DhcpServer(interface='boot0', address='10.98.0.1', handler=None, on_event=None)\n"
        "try:\n"
        "    asyncio.run(server.start())\n"
        "except Unavailable as error:\n"
        "    print(error, error.hint)\n"
    )
    result = subprocess.run(
        ["ip", "netns", "exec", net[0], "setpriv", "--bounding-set=-net_bind_service,-net_raw",
         sys.executable, "-c", program],
        check=True, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert result.stdout == (
        "UDP port 67 on boot0 may not be opened by this user Run as root, or with "
        "CAP_NET_BIND_SERVICE and CAP_NET_RAW.\n"
    )


async def test_stopping_twice_does_nothing(net: tuple[str, str]) -> None:
    server = DhcpServer(interface="boot0", address=SERVER, handler=handle, on_event=print)
    with inside(net[0]):
        await server.start()
    await server.stop()
    await server.stop()
    async with serving(net[0]):
        pass
