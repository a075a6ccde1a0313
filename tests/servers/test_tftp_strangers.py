"""The TFTP server and addresses that ask and never answer, packet by packet on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from bootserve.errors import NotFound
from bootserve.servers.tftp import TftpEvent, TftpEventKind, TftpServer
from bootserve.wire.tftp_packets import Ack, Data, Error, OptionAck, Options, Request, parse
from tests.support.tftp import ClientSocket

HOST = "127.0.0.1"
NBP = random.Random(1).randbytes(1_000_000)
GREEDY: Options = (("blksize", "65464"), ("windowsize", "65535"), ("tsize", "0"))
HALF_OPEN = 10_000


def lookup(name: str) -> bytes:
    if name != "nbp":
        raise NotFound("no such file")
    return NBP


@contextlib.asynccontextmanager
async def serving(events: list[TftpEvent]) -> AsyncIterator[TftpServer]:
    server = TftpServer(address=HOST, port=0, lookup=lookup, on_event=events.append)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def client(server: TftpServer, address: str) -> ClientSocket:
    sock = ClientSocket((HOST, server.port), address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    return sock


def waiting(sock: ClientSocket) -> list[bytes]:
    """Return the datagrams that have come to ``sock``."""
    datagrams = []
    with contextlib.suppress(BlockingIOError):
        while True:
            datagrams.append(sock.take())
    return datagrams


async def fetch(server: TftpServer, *options: str) -> bytes:
    url = f"tftp://{HOST}:{server.port}/nbp"
    words = ("--silent", "--show-error", "--interface", "127.0.0.99", *options, url)
    process = await asyncio.create_subprocess_exec("curl", *words, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


ASKED = {
    "127.0.1.1": Request("nbp", "octet", GREEDY).to_bytes(),
    "127.0.1.2": Request("nbp").to_bytes(),
    "127.0.1.3": Request("no").to_bytes(),
    "127.0.1.4": Request("nbp", write=True).to_bytes(),
    "127.0.1.5": b"\0\1nbp",
}


async def test_three_datagrams_go_to_an_address_whatever_is_asked_and_a_late_ack_counts() -> None:
    """Forty ports ask in each address' name, twice; the server's retransmissions are awaited."""
    async with serving([]) as server:
        assert await fetch(server) == NBP  # so that its address is no stranger's
        with contextlib.ExitStack() as stack:
            ports = {
                address: [stack.enter_context(client(server, address)) for _ in range(40)]
                for address in ASKED
            }
            for _ in range(2):
                for address, socks in ports.items():
                    for sock in socks:
                        sock.put(ASKED[address])
                await has_read_all(server)
            came: dict[str, list[tuple[ClientSocket, bytes]]] = {one: [] for one in ports}

            def take() -> bool:
                for address, socks in ports.items():
                    came[address] += [(sock, data) for sock in socks for data in waiting(sock)]
                return all(len(found) >= 3 for found in came.values())

            async with asyncio.timeout(60):
                while not take():  # noqa: ASYNC110 (two hundred sockets)
                    await asyncio.sleep(0.05)
            await asyncio.sleep(2.2)  # a fourth would have been sent again by then
            take()
            assert {address: len(found) for address, found in came.items()} == dict.fromkeys(
                ASKED, 3
            )
            sock, offered = came["127.0.1.1"][0]
            assert isinstance(parse(offered), OptionAck)
            assert await finish(sock) == NBP
        assert await fetch(server) == NBP


async def finish(sock: ClientSocket) -> bytes:
    """Acknowledge an OACK of windows of 64 blocks, late, and take the file."""
    received, last = b"", 0
    sock.put(Ack(0).to_bytes())
    while True:
        async with asyncio.timeout(30):
            packet = parse(await sock.get())
        if not isinstance(packet, Data) or packet.block != last + 1:
            continue
        received, last = received + packet.payload, packet.block
        complete = len(packet.payload) < 1468
        if complete or last % 64 == 0:
            sock.put(Ack(last).to_bytes())
        if complete:
            return received


async def has_read_all(server: TftpServer) -> None:
    """Wait until the server has read what was sent to it; what finds no room would be lost."""
    with client(server, "127.0.0.99") as sock:
        sock.put(Request("no").to_bytes())
        async with asyncio.timeout(60):
            assert isinstance(parse(await sock.get()), Error)


def memory_of(pid: int | None) -> int:
    """Return the bytes of memory that a process has to itself or shares."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) << 10


async def test_ten_thousand_half_open_transfers_cost_bounded_memory_and_no_client() -> None:
    events: list[TftpEvent] = []
    asked = Request("nbp", "octet", GREEDY).to_bytes()
    async with serving(events) as server:
        assert await fetch(server) == NBP
        before = memory_of(server.pid)
        for number in range(HALF_OPEN):
            if number % 200 == 0:
                await has_read_all(server)
            address = f"127.1.{number >> 8}.{number & 255}"
            with client(server, address) as sock:
                sock.put(asked)
            if number % 2500 == 2499:
                assert await fetch(server, "--tftp-blksize", "1428") == NBP
        grown = memory_of(server.pid) - before
    assert grown < 24 << 20
    kinds = [event.kind for event in events]
    assert kinds.count(TftpEventKind.COMPLETED) == 1 + HALF_OPEN // 2500
    counted = sum(int(e.detail.split()[0]) for e in events if e.kind is TftpEventKind.TROUBLE)
    told = kinds.count(TftpEventKind.FAILED) + kinds.count(TftpEventKind.REFUSED)
    assert counted + told == HALF_OPEN + HALF_OPEN // 200
    assert counted > told


async def test_with_few_descriptors_the_oldest_that_never_answered_give_way() -> None:
    """Each stranger's transfer takes one; where they are short, a client is served all the same."""
    events: list[TftpEvent] = []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))  # which the worker inherits
    try:
        async with serving(events) as server:
            for number in range(few):
                with client(server, f"127.2.{number >> 8}.{number & 255}") as sock:
                    sock.put(Request("nbp").to_bytes())
                    await sock.get()
            assert await fetch(server) == NBP
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    details = {event.detail for event in events if event.kind is TftpEventKind.FAILED}
    assert "never answered, and gave way to a newer request" in details
    assert not any("open files" in detail for detail in details)
