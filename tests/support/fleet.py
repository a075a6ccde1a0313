"""A fleet of simulated nodes: they fetch scripts and roots, report and send heartbeats, over HTTP.

They live in the client's namespace of a pair, each at an address of its own that lies behind the
link, so that the server joins what it fetches to its boot.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from vm_harness.net import Namespace

from tests.support.netns import inside

__all__ = ["ADDRESSES", "Fleet", "SimNode", "attach"]

ADDRESSES = "10.128.0.0/10"
_BOOT = re.compile(rb"bootserve\.boot=([0-9a-f]{32})")
_ROOT = re.compile(rb"bootserve\.root=([0-9a-f]{64})")
_GENERATION = re.compile(rb"bootserve\.generation=(\S+)")


def attach(server: Namespace, client: Namespace, address: str = "10.44.0.50") -> None:
    """Let the fleet's addresses be at home in the client's namespace, which has ``address``."""
    server.ip("route", "add", ADDRESSES, "via", address)
    client.ip("route", "add", "local", ADDRESSES, "dev", "lo")


def mac_of(number: int) -> str:
    return "52:54:" + ":".join(f"{number >> shift & 255:02x}" for shift in (24, 16, 8, 0))


@dataclass(slots=True)
class SimNode:
    """One machine: what it runs, and how often it has tried to."""

    name: str
    number: int
    boot: str = ""
    running: str = ""
    root: str = ""
    starts: list[str] = field(default_factory=list)
    wish: str = ""

    @property
    def mac(self) -> str:
        return mac_of(self.number)

    @property
    def address(self) -> str:
        """Another one for each start: a script asked for again within 5 s would be a retry."""
        place = self.number * 8 + len(self.starts) % 8
        return f"10.{128 + (place >> 16)}.{place >> 8 & 255}.{place & 255}"

    @property
    def token(self) -> str:
        return hashlib.sha256(self.boot.encode()).hexdigest()


class _Http:
    """One connection of a node to the boot plane."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._sock = sock

    async def call(self, method: str, path: str, token: str = "") -> tuple[int, bytes]:
        """Return the answer's status and body."""
        auth = f"Authorization: Bearer {token}\r\n" if token else ""
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{auth}{length}\r\n"
        await self._loop.sock_sendall(self._sock, head.encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self._more()
        said, _, body = data.partition(b"\r\n\r\n")
        match = re.search(rb"(?i)content-length: *(\d+)", said)
        size = int(match[1]) if match else 0
        while len(body) < size:
            body += await self._more()
        return int(said.split(b" ", 2)[1]), body

    async def _more(self) -> bytes:
        data = await self._loop.sock_recv(self._sock, 1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


class Fleet:
    """Simulated nodes that talk to the server at ``server``, from ``namespace``.

    ``works`` says whether a node comes up with a generation (``IMAGE@N``); ``together`` is how many
    do something at once.
    """

    def __init__(
        self,
        namespace: Namespace,
        server: str = "10.44.0.2",
        works: Callable[[SimNode, str], bool] = lambda _node, _generation: True,
        *,
        together: int = 200,
    ) -> None:
        self.namespace = namespace
        self._server = server
        self.works = works
        self._together = together
        self.nodes: dict[str, SimNode] = {}
        self.random = random.Random(4)

    def add(self, names: Iterable[str]) -> None:
        for name in names:
            self.nodes[name] = SimNode(name, len(self.nodes) + 1)

    @contextlib.asynccontextmanager
    async def _connected(self, node: SimNode) -> AsyncIterator[_Http]:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock:
            sock.bind((node.address, 0))
            await loop.sock_connect(sock, (self._server, 8080))
            yield _Http(loop, sock)

    async def start(self, node: SimNode, *, tries: int = 1) -> bool:
        """Let a node start; one that does not come up starts over, up to ``tries`` times."""
        for _ in range(tries):
            if await self._start(node):
                return True
        return False

    async def _start(self, node: SimNode) -> bool:
        node.running = ""
        async with self._connected(node) as http:
            status, script = await http.call("GET", f"/boot/{node.mac}.ipxe")
            boot, root = _BOOT.search(script), _ROOT.search(script)
            generation = _GENERATION.search(script)
            assert status == 200, script
            assert boot, script
            assert root, script
            assert generation, script
            node.boot, node.root = boot[1].decode(), root[1].decode()
            given = generation[1].decode()
            node.starts.append(given)
            status, _ = await http.call("GET", f"/artifacts/sha256/{node.root}")
            assert status == 200
            if not self.works(node, given):
                return False
            await self._report(node, http)
            return True

    async def _report(self, node: SimNode, http: _Http) -> None:
        node.running = node.starts[-1]
        await self._beat(node, http, f"/report/{node.boot}?phase=up&uptime=20")

    async def report(self, node: SimNode) -> None:
        """Let a node say that it is up with what it was given last."""
        async with self._connected(node) as http:
            await self._report(node, http)

    async def _beat(self, node: SimNode, http: _Http, path: str) -> bytes:
        said = f"&generation={node.running}&root={node.root}"
        status, body = await http.call("POST", path + said, node.token)
        assert status in (200, 202), (status, body)
        return body

    async def beat(self, node: SimNode) -> str:
        """Let a node that is up send a heartbeat; return under what name it is to reboot, or ''."""
        if not node.running:
            return ""
        async with self._connected(node) as http:
            answer = await self._beat(node, http, f"/heartbeat/{node.boot}?uptime=60")
        match = re.search(rb"^reboot=(\S+)$", answer, re.M)
        return match[1].decode() if match else ""

    async def obey(self, node: SimNode, *, tries: int = 1) -> bool:
        """Let a node send a heartbeat, and reboot if it is asked to; whether it was."""
        node.wish = await self.beat(node)
        if not node.wish:
            return False
        if await self.start(node, tries=tries):
            await self.beat(node)
        return True

    def each(self, work: Callable[[SimNode], object], nodes: Iterable[SimNode]) -> None:
        """Do ``work`` for every one of ``nodes``, some at a time, and wait until it is done."""
        with inside(self.namespace.name):
            asyncio.run(self._each(work, nodes))

    async def _each(self, work: Callable[[SimNode], object], nodes: Iterable[SimNode]) -> None:
        waiting = iter(list(nodes))

        async def worker() -> None:
            for node in waiting:
                await work(node)  # type: ignore[misc]

        await asyncio.gather(*(worker() for _ in range(self._together)))
