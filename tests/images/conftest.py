"""A node under QEMU (no firmware, user-mode network) and a server that misbehaves on demand."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from bootserve.build.bundle import Bundle
from tests.support.bundles import built_once, hang_at_start

MAC = "52:54:00:aa:bb:01"
MACHINE_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session")
def hanging_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo image with a unit that never ends its start and that everything waits for."""
    return built_once(tmp_path_factory, "hanging", hang_at_start)


@dataclass
class Report:
    """One report as it came."""

    phase: str
    query: dict[str, str]
    token: str
    detail: str
    boot: str


@dataclass
class NodeServer:
    """The boot plane as a node sees it: artifacts and reports, on a port of the loopback."""

    bundle: Bundle
    port: int = 0
    report_status: int = 202
    break_off_at: list[int] = field(default_factory=list)
    flip_byte: bool = False
    stall: bool = False
    deaf: bool = False
    reports: list[Report] = field(default_factory=list)
    ranges: list[int] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port: from now on connections are refused."""
        if self._server and self._thread:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def phases(self) -> list[str]:
        """The phases reported, in the order in which they came."""
        return [report.phase for report in self.reports]

    def wait_for(self, phase: str, timeout: float) -> Report:
        """Return the first report of ``phase``."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for report in list(self.reports):
                if report.phase == phase:
                    return report
            time.sleep(0.1)
        raise AssertionError(f"no report of {phase} in {timeout} s; came: {self.phases()}")


def _handler(server: NodeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = bytearray(
                (server.bundle.path / "sha256" / self.path.split("/")[-1]).read_bytes()
            )
            if server.flip_byte:
                data[len(data) // 2] ^= 1
            match = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(match[1]) if match else 0
            server.ranges.append(start)
            self.send_response(206 if match else 200)
            if match:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            end = server.break_off_at.pop(0) if server.break_off_at else len(data)
            self.wfile.write(data[start:end])
            if server.stall:
                self.wfile.flush()
                time.sleep(60)
            if end < len(data):
                self.close_connection = True

        def do_POST(self) -> None:
            url = urlsplit(self.path)
            detail = self.rfile.read(int(self.headers["Content-Length"])).decode()
            query = dict(parse_qsl(url.query))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            boot = url.path.removeprefix("/report/")
            if server.deaf:
                time.sleep(45)
            if url.path.startswith("/heartbeat/"):
                self.send_error(404)
                return
            server.reports.append(Report(query.get("phase", ""), query, token, detail, boot))
            self.send_response(server.report_status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def node_server(demo_bundle: Bundle) -> Iterator[NodeServer]:
    """A started server of the demo image."""
    server = NodeServer(demo_bundle)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def other_server(demo_bundle: Bundle) -> Iterator[NodeServer]:
    """A started server of the demo image, for guests whose requests are counted apart."""
    server = NodeServer(demo_bundle)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def hanging_server(hanging_bundle: Bundle) -> Iterator[NodeServer]:
    """A started server of the image with the unit that hangs."""
    server = NodeServer(hanging_bundle)
    server.start()
    yield server
    server.stop()


class Guest:
    """A virtual machine whose serial line is read into ``console``; a reboot ends it."""

    def __init__(self, bundle: Bundle, cmdline: str, *, memory: int, network: str) -> None:
        argv = ["qemu-system-x86_64", "-accel", "tcg,tb-size=128", "-m", str(memory)]
        argv += ["-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"]
        argv += ["-kernel", str(bundle.artifact("kernel")), "-append", cmdline]
        argv += ["-initrd", str(bundle.artifact("initrd")), "-netdev", f"{network},id=net"]
        argv += ["-device", f"virtio-net-pci,netdev=net,mac={MAC},romfile="]
        self.console = ""
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def expect(self, text: str, timeout: float) -> str:
        """Wait for ``text`` (a regular expression) on the console; return what matched."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if match := re.search(text, self.console):
                return match[0]
            if self._process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.1)
        raise AssertionError(f"no {text!r} on the console in {timeout} s:\n{self.console[-6000:]}")

    def run(self, command: str, timeout: float = 30) -> str:
        """Type ``command`` at the shell of the serial line and return its output."""
        mark = f"end-{time.monotonic_ns()}"
        before = len(self.console)
        # the mark is split, so that the echo of what is typed does not match
        self.type(f"{command}; echo {mark[:6]}''{mark[6:]}\n")
        self.expect(mark, timeout)
        return self.console[before:].split("\n", 1)[1].split(mark)[0].replace("\r", "")

    def type(self, text: str) -> None:
        """Type ``text``."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def wait_for_reboot(self, timeout: float) -> None:
        """Wait until the machine resets."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no reboot in {timeout} s:\n{self.console[-6000:]}") from None

    def reboots_without_a_shell(self, timeout: float) -> None:
        """Wait until the machine resets, and check that nobody was offered a shell."""
        self.wait_for_reboot(timeout)
        assert not re.search(r"/ #|BusyBox v|can't access tty", self.console), self.console

    def close(self) -> None:
        """Take its power."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while chunk := self._process.stdout.read1(4096):  # type: ignore[attr-defined]
            self.console += chunk.decode(errors="replace")


StartGuest = Callable[..., Guest]


@pytest.fixture
def start_guest(node_server: NodeServer) -> Iterator[StartGuest]:
    """Start guests of the server's image with the command line of the server's script."""
    guests: list[Guest] = []

    def start(
        *args: str,
        memory: int = 768,
        leave_out: str = "nothing",
        network: str = "user",
        server: NodeServer = node_server,
    ) -> Guest:
        words = [*_contract(server.bundle, server.port), *args]
        line = " ".join(word for word in words if not word.startswith(leave_out))
        guests.append(Guest(server.bundle, line, memory=memory, network=network))
        return guests[-1]

    yield start
    for guest in guests:
        guest.close()


def _contract(bundle: Bundle, port: int) -> list[str]:
    manifest = bundle.manifest
    root = manifest.artifacts["root"]
    return [
        f"BOOTIF=01-{MAC.replace(':', '-')}",
        f"bootserve.server=http://10.0.2.2:{port}",
        "bootserve.boot=a-boot",
        "bootserve.generation=demo@7",
        f"bootserve.root={root.sha256}",
        f"bootserve.root_size={root.size}",
        f"bootserve.root_format={manifest.root_format}",
        f"bootserve.overlay={manifest.overlay_size}",
        f"bootserve.min_memory={manifest.min_memory_mib}",
        "panic=30",
        f"systemd.machine_id={MACHINE_ID}",
        "systemd.hostname=node-1",
        *manifest.cmdline.split(),
    ]
