"""What stands before aiohttp answers as aiohttp does, byte for byte, and mints the same boots."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface
from itertools import accumulate, count
from pathlib import Path
from typing import cast

import pytest
import structlog
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootserve.core.discovery import DiscoveryFilter, UnknownPolicy
from bootserve.core.exchanges import Exchanges
from bootserve.core.known_good import KnownGood, KnownGoodLimits
from bootserve.core.loops import LoopGuard, LoopLimits
from bootserve.core.minting import Minter
from bootserve.core.timeline import Timeline
from bootserve.model.names import Mac
from bootserve.servers.boot.app import make_app
from bootserve.servers.boot.front import Listener, plain_headers
from bootserve.servers.boot.guards import Guards
from bootserve.servers.boot.known_good import KnownGoodDesk
from bootserve.servers.boot.once import OnceDesk
from bootserve.servers.boot.recorder import Recorder
from bootserve.servers.boot.scripts import ScriptDesk, routes
from bootserve.servers.current import Current
from bootserve.service.calm import Calm
from bootserve.service.files import load_scripts
from bootserve.store.journal import Journal
from bootserve.store.once_files import OnceFiles
from bootserve.store.records import BootRecord
from tests.support.states import generation, node, snapshot, state

NODES = 3000
SECONDS = 30
HOST = b"Host: 10.0.0.1:8080"
END = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def mac_of(number: int) -> Mac:
    return f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


async def turns() -> None:
    """Let the loop, which is the server's too, turn until what was sent is read."""
    for _ in range(20):
        await asyncio.sleep(0)


class World:
    """A boot plane of scripts only, with a journal of its own, on a port of the loopback."""

    def __init__(self, folder: Path, network: str, seen: Mac | None) -> None:
        nodes = (node(f"n{n}", mac_of(n), role="compute") for n in range(NODES))
        found = snapshot(state(*nodes, pins="site web@1"), generation("web@1"))
        log = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])
        self.journal = Journal(folder, max_bytes=1 << 24, clock=lambda: 1.0)
        recorder = Recorder(
            self.journal, Timeline(Exchanges()), DiscoveryFilter(10), log, Calm(log), lambda: None
        )
        self.current = Current(found, load_scripts(None))
        once = OnceDesk(OnceFiles(folder / "once"), self.journal, log, lambda: None)
        unaided = KnownGood(KnownGoodLimits(), lambda node: None, lambda node: 60.0)
        known_good = KnownGoodDesk(unaided, self.journal, log, lambda: None)
        self.desk = ScriptDesk(
            self.current,
            recorder,
            Guards(Minter(), LoopGuard(LoopLimits(scripts=3)), once, known_good),
            http_base="http://10.0.0.1:8080",
            unknown=UnknownPolicy.HOLD,
            network=IPv4Interface(network),
            neighbour=lambda address: seen,
        )
        self.runner = web.AppRunner(make_app(routes(self.desk), log), access_log=None)
        self.taken = 0
        self.listener: Listener | None = None

    async def start(self, *, quick: bool) -> None:
        await self.runner.setup()
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = int(sock.getsockname()[1])

        def handler() -> asyncio.Protocol:
            self.taken += 1
            return cast(Callable[[], asyncio.Protocol], self.runner.server)()

        if quick:
            self.listener = Listener(self.desk, handler)
            self.listener.start(sock)
        else:
            await web.SockSite(self.runner, sock).start()

    async def stop(self) -> None:
        if self.listener is not None:
            await self.listener.stop()
        await self.runner.cleanup()
        self.journal.close()

    @property
    def booted(self) -> list[str]:
        records = (record for _, record in self.journal.replay())
        return [record.node for record in records if isinstance(record, BootRecord)]

    async def exchange(self, chunks: list[bytes]) -> bytes:
        """Send ``chunks``, each by itself, and return what comes until the server closes."""
        loop, received = asyncio.get_running_loop(), b""
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            await turns()
            async with asyncio.timeout(SECONDS):
                # a server that has closed resets who goes on sending; its answer can be read still
                with contextlib.suppress(ConnectionError):
                    for chunk in chunks:
                        await loop.sock_sendall(sock, chunk)
                        await turns()
                with contextlib.suppress(ConnectionError):
                    while data := await loop.sock_recv(sock, 65536):
                        received += data
        return received


Make = Callable[..., World]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="module")
def make(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    made = []

    def make(*, quick: bool, network: str = "10.0.0.1/24", seen: Mac | None = None) -> World:
        world = World(tmp_path_factory.mktemp("journal") / "j", network, seen)
        runner.run(world.start(quick=quick))
        made.append(world)
        return world

    yield make
    for world in made:
        runner.run(world.stop())


@pytest.fixture(scope="module")
def worlds(make: Make) -> tuple[World, World]:
    return make(quick=True), make(quick=False)


def neutral(answer: bytes) -> bytes:
    """Return ``answer`` without what no two answers share."""
    answer = re.sub(rb"Date: [^\r]*", b"Date: now", answer)
    return re.sub(rb"boot[ =][0-9a-f]{32}", b"boot=id", answer)


fresh = count()
MACS: tuple[Callable[[Mac], str], ...] = (
    lambda mac: mac.replace(":", "-"),
    lambda mac: mac,
    lambda mac: mac.upper().replace(":", "-"),
    lambda mac: mac.replace(":", "-", 2),
    lambda mac: mac.replace(":", ""),
    lambda mac: "01-" + mac.replace(":", "-"),
    lambda mac: "52-54-00-ff-ff-ff",
    lambda mac: "ff-ff-ff-ff-ff-ff",
    lambda mac: "52%2d54-00-ff-ff-f",
    lambda mac: "x" * 17,
    lambda mac: "",
)
TARGETS = (
    "/boot/{}.ipxe",
    "http://10.0.0.1:8080/boot/{}.ipxe",
    "/boot/{}.ipxe?preview=1",
    "/boot/{}.ipxe?uuid=1",
    "/boot/{}.ipxe/",
    "//boot/{}.ipxe",
    "/boot/{}.ipxe#x",
    "/artifacts/{}",
    "/boot/{}.ipx ",
)
VERSIONS = ("HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 ", "")
FIELDS = (
    b"Connection: keep-alive",
    b"Connection: close",
    b"Connection: Keep-Alive",
    b"connection:keep-alive",
    b"User-Agent: iPXE/1.0.0+git-20190125",
    b"Accept: */*",
    b"Accept-Encoding: gzip",
    b"Accept-Encoding:",
    b"Content-Length: 0",
    b"Transfer-Encoding: chunked",
    b"Expect: 100-continue",
    b"Range: bytes=0-9",
    b"Host: other",
    b"Host : 10.0.0.1",
    b"Host: a b",
    b" folded",
    b"X-Bad\x01: 1",
    b"X: \xff",
    b"User-Agent: tab\tx",
    b"nonsense",
)


@st.composite
def requests(draw: st.DrawFn, own: Mac) -> bytes:
    """A request of the plain kind, but for some parts that are drawn."""
    odd = draw(st.sets(st.sampled_from(("method", "mac", "target", "version", "fields", "eol"))))
    mac = (draw(st.sampled_from(MACS)) if "mac" in odd else MACS[0])(own)
    target = (draw(st.sampled_from(TARGETS)) if "target" in odd else TARGETS[0]).format(mac)
    method = draw(st.sampled_from(("HEAD", "POST", "get", " GET"))) if "method" in odd else "GET"
    version = draw(st.sampled_from(VERSIONS)) if "version" in odd else VERSIONS[0]
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=3)) if "fields" in odd else []
    eol = draw(st.sampled_from((b"\n", b"\r\n\r\n"))) if "eol" in odd else b"\r\n"
    lines = [f"{method} {target} {version}".encode(), HOST, *fields]
    return eol.join(lines) + b"\r\n\r\n"


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_conversation_is_as_with_aiohttp_alone(
    runner: asyncio.Runner, worlds: tuple[World, World], data: st.DataObject
) -> None:
    mac = mac_of(next(fresh) % NODES)
    asked = data.draw(st.lists(requests(mac), min_size=1, max_size=4))
    sent = b"".join(asked) + END
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=3).map(sorted))
    if data.draw(st.booleans()):  # as a client sends them: each by itself
        cuts = sorted({*cuts, *accumulate(map(len, asked))})
    chunks = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    quick, plain = (runner.run(world.exchange(chunks)) for world in worlds)
    assert neutral(quick) == neutral(plain)
    assert worlds[0].booted == worlds[1].booted


@pytest.mark.parametrize("separator", ["-", ":"])
def test_plain_requests_are_answered_without_aiohttp(
    runner: asyncio.Runner, make: Make, separator: str
) -> None:
    world = make(quick=True)
    plain = b"GET /boot/%b.ipxe HTTP/1.1\r\nConnection: keep-alive\r\n" + HOST + b"\r\n\r\n"
    macs = [mac_of(n).replace(":", separator).encode() for n in range(50)]
    answer = runner.run(world.exchange([*(plain % mac for mac in macs), END]))
    assert answer.count(b"HTTP/1.1 200 OK") == 50
    assert world.taken == 1  # for the last request only
    assert world.booted == [f"n{n}" for n in range(50)]


def test_a_boot_is_journalled_before_its_script_is_sent(runner: asyncio.Runner, make: Make) -> None:
    world = make(quick=True)

    async def ask() -> list[str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b"GET /boot/52-54-00-00-00-07.ipxe HTTP/1.1\r\n" + HOST + b"\r\n\r\n")
        async with asyncio.timeout(SECONDS):
            await reader.readuntil(b"goto again\n")
        booted = world.booted
        writer.close()
        await writer.wait_closed()
        return booted

    assert runner.run(ask()) == ["n7"]


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    ("seen", "status"), [(mac_of(3), b"200"), (mac_of(4), b"403"), (None, b"200")]
)
def test_on_the_local_segment_the_requester_must_be_the_node(
    runner: asyncio.Runner, make: Make, quick: bool, seen: Mac | None, status: bytes
) -> None:
    world = make(quick=quick, network="127.0.0.1/8", seen=seen)
    sent = b"GET /boot/52-54-00-00-00-03.ipxe HTTP/1.1\r\n" + HOST + b"\r\n\r\n"
    answer = runner.run(world.exchange([sent, END]))
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert world.booted == ([] if status == b"403" else ["n3"])


def test_who_asks_too_often_and_who_retries_is_told_as_ever(
    runner: asyncio.Runner, make: Make
) -> None:
    world = make(quick=True)
    sent = b"GET /boot/52-54-00-00-00-05.ipxe HTTP/1.1\r\n" + HOST + b"\r\n\r\n"
    first, second = (neutral(runner.run(world.exchange([sent, END]))) for _ in range(2))
    assert first == second
    assert world.booted == ["n5"]
    for number in (2, 3, 4):
        known = {one.ref: one for one in (generation("web@1"), generation(f"web@{number}"))}
        pinned = state(node("n5", mac_of(5), role="compute"), pins=f"site web@{number}")
        world.current.snapshot = snapshot(pinned, *known.values(), revision=number)
        answer = runner.run(world.exchange([sent, END]))
        held = b"its script was fetched 3 times within 5 minutes" in answer
        assert held is (number == 4)
    assert world.booted == ["n5"] * 3


def test_stopping_closes_the_connections_that_wait(runner: asyncio.Runner, make: Make) -> None:
    world = make(quick=True)

    async def stopped() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b"GET /boot/52-54-00-00-00-07.ipxe HTTP/1.1\r\n" + HOST + b"\r\n\r\n")
        async with asyncio.timeout(SECONDS):
            await reader.readuntil(b"goto again\n")
        assert world.listener is not None
        await world.listener.stop()
        async with asyncio.timeout(SECONDS):
            rest = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        return rest

    assert runner.run(stopped()) == b""


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ([HOST], True),
        ([HOST, b"Connection: Keep-Alive", b"User-Agent: a b", b"Accept: */*"], True),
        ([], False),
        ([b"Connection: keep-alive"], False),
        ([HOST, b"host: b"], False),
        ([HOST, b"Connection: close"], False),
        ([HOST, b"Content-Length: 0"], False),
        ([HOST, b"User-Agent: a", b" b"], False),
        ([HOST, b"User-Agent:a"], False),
        ([HOST, b"", b"User-Agent: a"], False),
    ],
)
def test_plain_headers(fields: list[bytes], plain: bool) -> None:
    assert plain_headers(b"\r\n" + b"".join(one + b"\r\n" for one in fields) + b"\r\n") is plain
    assert not plain_headers(b"\r\n" + b"".join(one + b"\r\n" for one in fields))
