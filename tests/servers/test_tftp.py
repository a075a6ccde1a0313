"""The TFTP server on loopback: other people's clients, and input that must not stop it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import tftpy

from bootserve.errors import InvalidInput, NotFound, Unavailable
from bootserve.servers.tftp import TftpEvent, TftpEventKind, TftpServer
from bootserve.wire.tftp_packets import Ack, Data, Error, OptionAck, Options, Packet, Request, parse
from tests.support.tftp import ClientSocket

HOST = "127.0.0.1"
FILES = {
    "ipxe.efi": random.Random(1).randbytes(1_000_001),
    "short": b"#!ipxe\n",
    "empty": b"",
    "multiple": random.Random(2).randbytes(512 * 10),
    # Past block 65,535 with 512 bytes a block.
    "long": random.Random(3).randbytes(34_000_000),
}


def lookup(name: str) -> bytes:
    try:
        return FILES[name]
    except KeyError:
        raise NotFound("no such file") from None


class Serving:
    """A running server, what it reported, and ways to ask it."""

    def __init__(self, *, interface: str | None = None, max_blksize: int | None = None) -> None:
        self.events: list[TftpEvent] = []
        self.server = TftpServer(
            address=HOST,
            port=0,
            interface=interface,
            lookup=lookup,
            on_event=self.events.append,
            max_blksize=max_blksize,
        )

    @property
    def port(self) -> int:
        return self.server.port

    async def told(self) -> list[TftpEvent]:
        """Stop the server and return all that it told."""
        await self.server.stop()
        return self.events

    async def outcomes(self) -> list[tuple[TftpEventKind, str]]:
        return [(event.kind, event.filename) for event in await self.told()]

    async def curl(self, name: str, *options: str) -> bytes:
        url = f"tftp://{HOST}:{self.port}/{name}"
        return await run("curl", "--silent", "--show-error", *options, url)

    async def ask(self, datagram: bytes, source: str = "127.0.0.2") -> Packet | None:
        """Return the server's reply to ``datagram``, None when there is none.

        A request for the empty file follows it on the same socket, and is answered after it.
        """
        with ClientSocket((HOST, self.port), source) as sock:
            for sent in (datagram, rrq("empty")):
                sock.put(sent)
            async with asyncio.timeout(5):
                reply = await sock.get()
            # What begins a transfer to a stranger comes from a port to itself.
            assert (sock.peer == sock.server) is (reply[:2] == b"\0\5")
            return None if reply == Data(1, b"").to_bytes() else parse(reply)


async def run(*command: str) -> bytes:
    """Return the command's standard output; fails with its errors."""
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await process.communicate()
        # On a machine that is very busy curl 7.88 may fail before it sends anything.
        if b"getpeername() failed" not in errors:
            break
    assert process.returncode == 0, errors.decode()
    return output


@contextlib.asynccontextmanager
async def serving(**settings: int | str | None) -> AsyncIterator[Serving]:
    """Run a server for as long as the block lasts; what it raises into the loop is a failure."""
    running = Serving(**settings)  # type: ignore[arg-type]
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    await running.server.start()
    try:
        yield running
    finally:
        await running.server.stop()
    assert raised == []


@pytest.mark.parametrize("name", sorted(FILES))
async def test_curl_fetches(name: str) -> None:
    async with serving() as tftp:
        assert await tftp.curl(name, "--tftp-no-options") == FILES[name]
        assert await tftp.outcomes() == [(TftpEventKind.COMPLETED, name)]
        assert (await tftp.told())[-1].bytes_sent == len(FILES[name])


@pytest.mark.parametrize("blksize", [8, 512, 1428, 1468, 1469, 65464])
async def test_curl_negotiates_a_block_size(blksize: int) -> None:
    async with serving() as tftp:
        fetched = await tftp.curl("multiple", "--tftp-blksize", str(blksize))
        assert fetched == FILES["multiple"]
        assert (await tftp.told())[-1].blksize == min(blksize, 1468)


async def test_on_an_interface_blocks_are_as_large_as_its_mtu_allows() -> None:
    async with serving(interface="lo") as tftp:
        assert await tftp.curl("ipxe.efi", "--tftp-blksize", "65464") == FILES["ipxe.efi"]
        assert (await tftp.told())[-1].blksize == 65464


@pytest.mark.parametrize("name", sorted(FILES))
async def test_tftp_hpa_fetches(name: str, tmp_path: Path) -> None:
    async with serving() as tftp:
        copy = tmp_path / "copy"
        where = (HOST, str(tftp.port))
        await run("tftp", "-m", "binary", *where, "-c", "get", name, str(copy))
        assert copy.read_bytes() == FILES[name]
        assert await tftp.outcomes() == [(TftpEventKind.COMPLETED, name)]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("blksize 1428",),
        ("blksize 1428", "tsize 0", "timeout 2"),
        ("windowsize 4", "blksize 1468", "tsize 0"),
        ("windowsize 64",),
        ("windowsize 200",),
    ],
)
async def test_atftp_fetches(options: tuple[str, ...], tmp_path: Path) -> None:
    """From a port to itself, and then from the one for requests."""
    asked = int(dict(option.split() for option in options).get("windowsize", "1"))
    async with serving() as tftp:
        copy = tmp_path / "copy"
        wanted = [word for option in options for word in ("--option", option)]
        names = ["--remote-file", "ipxe.efi", "--local-file", str(copy)]
        for _ in range(2):
            await run("atftp", *wanted, "--get", *names, HOST, str(tftp.port))
            assert copy.read_bytes() == FILES["ipxe.efi"]
            copy.unlink()
        assert [(event.kind, event.windowsize) for event in await tftp.told()] == [
            (TftpEventKind.COMPLETED, min(asked, 64))
        ] * 2


@pytest.mark.parametrize("options", [{}, {"blksize": 1428, "tsize": 0}])
async def test_tftpy_fetches(options: dict[str, int], tmp_path: Path) -> None:
    async with serving() as tftp:
        for name in sorted(FILES.keys() - {"long"}):
            copy = tmp_path / name
            client = tftpy.TftpClient(HOST, tftp.port, options=options)
            await asyncio.to_thread(client.download, name, str(copy))
            assert copy.read_bytes() == FILES[name]


async def test_fifty_clients_at_once() -> None:
    async with serving() as tftp:
        fetched = await asyncio.gather(
            *(tftp.curl("ipxe.efi", "--tftp-blksize", "1428") for _ in range(50))
        )
        assert all(content == FILES["ipxe.efi"] for content in fetched)
        assert await tftp.outcomes() == [(TftpEventKind.COMPLETED, "ipxe.efi")] * 50


@pytest.mark.parametrize(
    ("client", "says"),
    [
        (("curl", "--silent", "--show-error", "tftp://{at}/no"), "curl: (68)"),
        (("tftp", "{host}", "{port}", "-c", "get", "short"), "only mode octet"),
        (("tftp", "-m", "binary", "{host}", "{port}", "-c", "get", "no"), "no such file"),
    ],
)
async def test_clients_are_told_why_they_get_nothing(
    client: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    async with serving() as tftp:
        at = f"{HOST}:{tftp.port}"
        words = [word.format(at=at, host=HOST, port=tftp.port) for word in client]
        process = await asyncio.create_subprocess_exec(
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        output, _ = await process.communicate()
        assert says.lower() in output.decode().lower()
        assert [kind for kind, _ in await tftp.outcomes()] == [TftpEventKind.REFUSED]


async def test_a_client_that_writes_is_refused(tmp_path: Path) -> None:
    async with serving() as tftp:
        (tmp_path / "new").write_bytes(b"x")
        client = tftpy.TftpClient(HOST, tftp.port)
        with pytest.raises(tftpy.TftpException, match=r"(?i)access violation|read-only|error"):
            await asyncio.to_thread(client.upload, "new", str(tmp_path / "new"))
        assert (await tftp.told())[-1].detail == "this server is read-only"


def rrq(name: str, options: Options = (), mode: str = "octet") -> bytes:
    return Request(name, mode, options).to_bytes()


BAD_INPUT: dict[str, tuple[bytes, Packet | None]] = {
    "empty datagram": (b"", None),
    "truncated opcode": (b"\0", None),
    "truncated ack": (b"\0\4\0", None),
    "unknown opcode": (b"\0\x63abc\0", None),
    "zeros": (bytes(600), None),
    "oversized garbage": (b"\xff" * 60_000, None),
    "random": (random.Random(4).randbytes(512), None),
    "ack of nothing": (Ack(1).to_bytes(), None),
    "data": (Data(1, b"x" * 512).to_bytes(), None),
    "error": (Error(0, "x").to_bytes(), None),
    "error with an unknown code": (Error(65535, "x").to_bytes(), None),
    "oack": (OptionAck((("blksize", "8"),)).to_bytes(), None),
    "oversized request": (rrq("a" * 60_000), Error(4, "the request is longer than 512 bytes")),
    "unterminated name": (b"\0\1short", Error(4, "the file name is not terminated")),
    "no mode": (b"\0\1short\0", Error(4, "the transfer mode is missing or not terminated")),
    "option overruns": (rrq("short") + b"blksize", Error(4, "an option is not terminated")),
    "option without value": (rrq("short") + b"blksize\0", Error(4, "an option has no value")),
    "traversal": (rrq("../../etc/passwd"), Error(2, "the file name leads out of the served files")),
    "absolute": (rrq("/etc/passwd"), Error(1, "no such file")),
    "directory": (rrq("/"), Error(1, "no such file")),
    "no name": (rrq(""), Error(1, "no such file")),
    "non-ASCII name": (rrq("sh\xf6rt"), Error(2, "the file name is not printable ASCII")),
    "write": (Request("short", write=True).to_bytes(), Error(2, "this server is read-only")),
    "netascii": (rrq("short", mode="netascii"), Error(2, "only mode octet (binary) is served")),
    "blksize=abc": (rrq("short", (("blksize", "abc"),)), Data(1, FILES["short"])),
    "blksize=0": (rrq("short", (("blksize", "0"),)), Data(1, FILES["short"])),
    "windowsize=-1": (rrq("short", (("windowsize", "-1"),)), Data(1, FILES["short"])),
    "timeout=0": (rrq("short", (("timeout", "0"),)), Data(1, FILES["short"])),
    "unknown option": (rrq("short", (("multicast", ""),)), Data(1, FILES["short"])),
}


@pytest.mark.parametrize("name", BAD_INPUT)
async def test_bad_input_leaves_the_server_serving_the_next_client(name: str) -> None:
    datagram, answer = BAD_INPUT[name]
    async with serving() as tftp:
        assert await tftp.ask(datagram) == answer
        assert await tftp.curl("short") == FILES["short"]


async def test_a_flood_of_random_datagrams_leaves_the_server_serving() -> None:
    seeded = random.Random(5)
    async with serving() as tftp:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.3", 0))
            for _ in range(3000):
                opcode = bytes((0, seeded.randrange(8)))
                datagram = opcode + seeded.randbytes(seeded.randrange(900))
                sock.sendto(datagram, (HOST, tftp.port))
        assert await tftp.curl("ipxe.efi") == FILES["ipxe.efi"]


async def test_a_client_that_disappears_leaves_the_server_serving() -> None:
    loop = asyncio.get_running_loop()
    async with serving() as tftp:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
            icmp.setblocking(False)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.bind(("127.0.0.2", 0))
                gone = sock.getsockname()[1]
                await loop.sock_sendto(sock, rrq("ipxe.efi"), (HOST, tftp.port))
                async with asyncio.timeout(60):
                    await loop.sock_recv(sock, 2048)
            assert await tftp.curl("ipxe.efi") == FILES["ipxe.efi"]
            # what it is sent again comes back: the port is not reachable
            async with asyncio.timeout(60):
                while int.from_bytes((await loop.sock_recv(icmp, 2048))[50:52]) != gone:
                    pass
        assert await tftp.curl("short") == FILES["short"]


async def test_a_port_that_is_taken_is_named() -> None:
    async with serving() as tftp:
        second = TftpServer(
            address=HOST, port=tftp.port, interface=None, lookup=lookup, on_event=print
        )
        with pytest.raises(Unavailable, match=f"UDP port {tftp.port} .* is taken") as refusal:
            await second.start()
        assert "ss -ulpn" in refusal.value.hint
        assert await tftp.curl("short") == FILES["short"]


@pytest.mark.parametrize(
    ("address", "interface", "says"),
    [
        ("192.0.2.1", None, "no such address"),
        (HOST, "no-such-nic", "no interface no-such-nic"),
        (HOST, "x" * 40, "no interface x"),
    ],
)
async def test_what_cannot_be_bound_is_said(address: str, interface: str | None, says: str) -> None:
    server = TftpServer(address=address, port=0, interface=interface, lookup=lookup, on_event=print)
    with pytest.raises(Unavailable, match=says):
        await server.start()
    await server.stop()


@pytest.mark.parametrize("address", ["", "0.0.0.0", "255.255.255.255", "224.0.0.1", "::1", "tftp"])
def test_an_address_that_replies_cannot_come_from_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput):
        TftpServer(address=address, interface=None, lookup=lookup, on_event=print)


async def test_stopping_ends_transfers_and_frees_the_port() -> None:
    async with serving() as tftp:
        with ClientSocket((HOST, tftp.port)) as sock:
            for packet in (rrq("ipxe.efi"), Ack(1).to_bytes()):
                sock.put(packet)
                await sock.get()
            port = tftp.port
            await tftp.server.stop()
            farewell = parse(await sock.get())
        assert farewell == Error(0, "the server is stopping")
        await tftp.server.stop()
        again = TftpServer(
            address=HOST, port=port, interface=None, lookup=lookup, on_event=tftp.events.append
        )
        await again.start()
        await again.stop()
        assert await tftp.outcomes() == [(TftpEventKind.FAILED, "ipxe.efi")]
