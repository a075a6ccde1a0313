"""The DHCP server's answers on real interfaces."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

from bootserve.core.offers import Ignored, Reply
from bootserve.servers.dhcp import DhcpEvent
from bootserve.wire.dhcp import MAX_PACKET, build, parse
from tests.support.dhcp import (
    CLIENT,
    DISCOVER,
    MAC,
    REQUEST,
    SERVER,
    dnsmasq_relay,
    ends,
    handle,
    received,
    replied,
    serving,
    two_namespaces,
    udp,
    until,
    wire,
)
from tests.support.netns import ip

pytestmark = pytest.mark.netns


@pytest.fixture
def net() -> Iterator[tuple[str, str]]:
    with two_namespaces() as names:
        yield names


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
        "offer nbp", 67, ("0.0.0.0", 68), event.client, node="web1", reason=""
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
            for count in (1, 2):  # the second from a form, by another call
                client.send(build(DISCOVER))
                await until(lambda: len(events) == count)  # noqa: B023 (awaited here)
    failed = "send failed", "offer nbp: EPERM (Operation not permitted)"
    assert [(event.kind, event.reason) for event in events] == [failed] * 2


async def test_a_datagram_that_cannot_be_handled_costs_no_other(net: tuple[str, str]) -> None:
    def failing(data: bytes, port: int) -> Reply | Ignored:
        if parse(data).xid == 2:
            raise ZeroDivisionError
        return handle(data, port)

    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with serving(net[0], failing) as events:
        with wire(net[1]) as client:
            for xid in (1, 2, 3):
                client.send(build(replace(DISCOVER, xid=xid)))
            await until(lambda: len(events) == 2)
    assert [event.kind for event in events] == ["offer nbp"] * 2
    assert [type(one["exception"]) for one in reported] == [ZeroDivisionError]


def operstate(namespace: str) -> str:
    """Return what the kernel says of ``boot0`` in ``namespace``: UP, DOWN, …"""
    argv = ["ip", "-n", namespace, "-json", "link", "show", "boot0"]
    done = subprocess.run(argv, check=True, capture_output=True, timeout=10)
    return str(json.loads(done.stdout)[0]["operstate"])


async def test_it_serves_again_after_the_interface_was_down(net: tuple[str, str]) -> None:
    async with serving(net[0]) as events:
        ip("-n", net[0], "link", "set", "boot0", "down")
        await until(lambda: operstate(net[1]) != "UP")  # and the server's loop turns meanwhile
        ip("-n", net[0], "link", "set", "boot0", "up")
        await until(lambda: operstate(net[0]) == operstate(net[1]) == "UP")
        with wire(net[1]) as client:
            client.send(build(DISCOVER))
            assert bytes((await client.receive())[UDP].payload) == replied(DISCOVER)
    assert [event.kind for event in events if event.kind != "receive failed"] == ["offer nbp"]


async def test_a_client_that_our_offers_do_no_good_is_named(net: tuple[str, str]) -> None:
    now = [0.0]
    async with serving(net[0], clock=lambda: now[0]) as events:
        with wire(net[1]) as client:
            for now[0], told in ((0.0, 1), (4.0, 2), (12.0, 4)):
                client.send(build(DISCOVER))
                await client.receive()
                await until(lambda: len(events) == told)  # noqa: B023 (awaited here)
    # the DISCOVER that completes the pattern is answered in the other shape
    kinds = ["offer nbp", "offer nbp", "offer binl", "no usable offers"]
    assert [event.kind for event in events] == kinds
    assert events[3].client == events[2].client
    assert events[3].node == "web1"
    assert events[3].reason.startswith(
        "the client accepted no usable pair of offers: it repeated its DISCOVER at 0, 4, 12 s"
    )


async def test_a_request_to_the_dhcp_server_shows_that_all_is_well(net: tuple[str, str]) -> None:
    now = [0.0]
    sent = ((0.0, DISCOVER), (4.0, DISCOVER), (5.0, REQUEST), (12.0, DISCOVER))
    async with serving(net[0], clock=lambda: now[0]) as events:
        with wire(net[1]) as client:
            for told, (now[0], packet) in enumerate(sent, start=1):
                client.send(build(packet))
                await until(lambda: len(events) == told)  # noqa: B023 (awaited here)
    assert [event.kind for event in events] == ["offer nbp", "offer nbp", "ignored", "offer nbp"]
