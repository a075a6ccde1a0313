"""The TFTP server on real interfaces: two network namespaces joined by a veth pair."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from bootserve.errors import NotFound
from bootserve.servers.tftp import TftpEvent, TftpEventKind, TftpServer
from bootserve.wire.tftp_packets import Ack, Data, OptionAck, Request, parse
from tests.support.netns import inside, ip, joined
from tests.support.tftp import ClientSocket

pytestmark = pytest.mark.netns

SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>; the socket module does not name it

SERVER, CLIENT = "10.99.0.1", "10.99.0.2"
FILES = {"nbp": random.Random(1).randbytes(300_000)}


def lookup(name: str) -> bytes:
    try:
        return FILES[name]
    except KeyError:
        raise NotFound("no such file") from None


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Two namespaces: ``boot0`` in the first is joined to ``boot0`` in the second."""
    with joined("tftp", ("boot0", [SERVER], [CLIENT])) as (server, client):
        yield server, client


@contextlib.asynccontextmanager
async def serving(
    namespace: str, interface: str, on_event: Callable[[TftpEvent], None]
) -> AsyncIterator[TftpServer]:
    server = TftpServer(
        address=SERVER,
        interface=interface,
        lookup=lookup,
        on_event=on_event,
    )
    with inside(namespace):
        await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def curl(namespace: str, *options: str) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", namespace, "curl", "--silent", "--max-time", "20", *options),
        f"tftp://{SERVER}/nbp",
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return process.returncode, output


async def test_blocks_fit_the_interfaces_mtu(pair: tuple[str, str]) -> None:
    events: list[TftpEvent] = []
    ip("-n", pair[0], "link", "set", "boot0", "mtu", "1400")
    async with serving(pair[0], "boot0", events.append) as server:
        assert server.port == 69
        fetched = await curl(pair[1], "--tftp-blksize", "1468")
    assert fetched == (0, FILES["nbp"])
    assert (events[-1].client[0], events[-1].blksize) == (CLIENT, 1368)


async def test_a_firewall_that_keeps_track_of_connections_lets_the_acknowledgements_in(
    pair: tuple[str, str],
) -> None:
    rules = (
        "add table ip f; add chain ip f input { type filter hook input priority 0; policy drop; };"
        "add rule ip f input udp dport 69 accept; add rule ip f input ct state established accept"
    )
    filter_packets(pair[0], rules)
    async with serving(pair[0], "boot0", lambda _: None):
        assert await curl(pair[1]) == (0, FILES["nbp"])


async def test_only_the_named_interface_is_served(pair: tuple[str, str]) -> None:
    events: list[TftpEvent] = []
    async with serving(pair[0], "lo", events.append):
        returncode, output = await curl(pair[1], "--max-time", "1")
    assert (returncode != 0, output, events) == (True, b"", [])


async def test_a_client_that_becomes_unreachable_ends_its_transfer(pair: tuple[str, str]) -> None:
    events: asyncio.Queue[TftpEvent] = asyncio.Queue()
    async with serving(pair[0], "boot0", events.put_nowait):
        with inside(pair[1]):
            sock = ClientSocket((SERVER, 69))
        with sock:
            await ask_and_answer(sock)
            ip("-n", pair[0], "link", "set", "boot0", "down")
            async with asyncio.timeout(10):
                failed = await events.get()
        assert failed.kind is TftpEventKind.FAILED
        assert failed.detail == "sending failed: Network is unreachable"
        ip("-n", pair[0], "link", "set", "boot0", "up")
        assert await curl(pair[1]) == (0, FILES["nbp"])


def filter_packets(namespace: str, rules: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace, "nft", rules], check=True, timeout=10)


async def ask_and_answer(sock: ClientSocket) -> int:
    """Ask for the file in windows of 64 blocks, acknowledge the OACK and return what it grants."""
    asked = Request("nbp", options=(("blksize", "1468"), ("windowsize", "64")))
    sock.put(asked.to_bytes())
    granted = parse(await sock.get())
    assert isinstance(granted, OptionAck)
    sock.put(Ack(0).to_bytes())
    return int(dict(granted.options)["windowsize"])


def limit_rate(namespace: str, rate: str) -> None:
    shape = ("tbf", "rate", rate, "burst", "20kb", "limit", "100000000")
    command = ("ip", "netns", "exec", namespace, "tc", "qdisc", "add", "dev", "boot0", "root")
    subprocess.run([*command, *shape], check=True, timeout=10)


async def fetch(sock: ClientSocket) -> bytes:
    """Fetch the file in the windows that are granted, each acknowledged once it is complete.

    Two cores take packets from the queue that is limited, and may swap two of them.
    """
    windowsize = await ask_and_answer(sock)
    blocks: dict[int, bytes] = {}
    last, end = 0, 0
    while last != end or not end:
        packet = parse(await sock.get())
        assert isinstance(packet, Data)
        if packet.block <= last:
            continue  # sent again, because this client was slow to answer
        blocks[packet.block] = packet.payload
        end = packet.block if len(packet.payload) < 1468 else end
        while last + 1 in blocks:
            last += 1
            if last == end or last % windowsize == 0:
                sock.put(Ack(last).to_bytes())
    return b"".join(blocks[number] for number in range(1, end + 1))


def send_errors(namespace: str) -> int:
    """Return how many datagrams found no room, and were lost."""
    read = ["ip", "netns", "exec", namespace, "cat", "/proc/net/snmp"]
    done = subprocess.run(read, check=True, timeout=10, capture_output=True, text=True)
    names, values = (line.split() for line in done.stdout.splitlines() if line.startswith("Udp:"))
    return int(values[names.index("SndbufErrors")])


async def test_a_full_send_buffer_delays_and_loses_nothing(pair: tuple[str, str]) -> None:
    """The link takes 200 Mbit/s, and 60 windows of 64 blocks are more than the buffer holds."""
    events: list[TftpEvent] = []
    limit_rate(pair[0], "200mbit")
    with contextlib.ExitStack() as stack:
        with inside(pair[1]):
            made = [ClientSocket((SERVER, 69)) for _ in range(60)]
        for sock in made:
            stack.enter_context(sock)
            # what a busy machine does not read in time must not be lost on this side
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        async with serving(pair[0], "boot0", events.append), asyncio.timeout(60):
            assert await curl(pair[1]) == (0, FILES["nbp"])  # then all share one socket
            fetched = await asyncio.gather(*map(fetch, made))
    assert fetched == [FILES["nbp"]] * 60
    assert send_errors(pair[0]) == 0
    assert [event.kind for event in events].count(TftpEventKind.COMPLETED) == 61
