"""The relay between curl on the lab's network and a plain HTTP server, with a real redirect."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from vm_harness.corrupt import Corruptor
from vm_harness.errors import HarnessError
from vm_harness.lab import Lab
from vm_harness.net import Namespace
from vm_harness.relay import Rule

pytestmark = pytest.mark.netns

SIZE = 300_000
DATA = b"".join(hashlib.sha256(bytes([n % 251, n // 251 % 251])).digest() for n in range(9375))
URL = "http://10.44.0.2:8080"

_SERVER = """
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import socket
import sys

DATA = Path(sys.argv[1]).read_bytes()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(200, DATA, body=False)

    def do_POST(self):
        got = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(202, b"%d" % len(got))

    def do_GET(self):
        if self.path == "/who":
            self.answer(200, self.client_address[0].encode())
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\\r\\none\\r\\n4;x=y\\r\\ntwo!\\r\\n")
            self.wfile.write(b"0\\r\\nTrailer: yes\\r\\n\\r\\n")
        elif self.path == "/nothing":
            self.send_response(204)
            self.end_headers()
        elif wanted := re.match(r"bytes=(\\d+)-(\\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), int(wanted[2] or len(DATA) - 1)
            extra = {"Content-Range": f"bytes {first}-{last}/{len(DATA)}"}
            self.answer(206, DATA[first : last + 1], extra)
        else:
            self.answer(200, DATA)

    def answer(self, status, data, extra={}, body=True):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in extra.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

class Server(ThreadingHTTPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1")
        super().server_bind()

Server(("10.44.0.2", 8080), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def client(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    folder = tmp_path_factory.mktemp("http")
    (folder / "data").write_bytes(DATA)
    with (folder / "log").open("wb") as log:
        server = lab.network.server.spawn(
            [sys.executable, "-c", _SERVER, str(folder / "data")], log=log
        )
    client = lab.client("client")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            client.run(["curl", "-sfo", "/dev/null", f"{URL}/who"])
            break
        except HarnessError:
            time.sleep(0.05)
    yield client
    server.kill()
    server.wait()


def _get(client: Namespace, path: str, tmp_path: Path, *options: str) -> bytes:
    out = tmp_path / "got"
    client.run(["curl", "-sS", "--max-time", "10", "-o", str(out), *options, URL + path])
    return out.read_bytes()


def _differences(got: bytes, first: int = 0) -> list[int]:
    meant = DATA[first : first + len(got)]
    return [first + n for n, (a, b) in enumerate(zip(got, meant, strict=True)) if a != b]


def test_off_flip_off(lab: Lab, client: Namespace, tmp_path: Path) -> None:
    assert _get(client, "/root", tmp_path) == DATA
    damage = lab.corrupt_http(r"^/root$", offset=123_456)
    got = _get(client, "/root", tmp_path)
    assert _differences(got) == [123_456]
    assert got[123_456] == DATA[123_456] ^ 0xFF
    assert _get(client, "/kernel", tmp_path) == DATA
    assert damage.damaged == [{"damaged": "flip", "path": "/root", "offset": 123_456}]
    damage.off()
    assert _get(client, "/root", tmp_path) == DATA
    assert len(damage.damaged) == 1


def test_the_server_sees_the_client_and_not_the_relay(
    lab: Lab, client: Namespace, tmp_path: Path
) -> None:
    damage = lab.corrupt_http("^/root$", offset=0)
    assert _get(client, "/who", tmp_path) == b"10.44.0.50"
    damage.off()
    assert _get(client, "/who", tmp_path) == b"10.44.0.50"


def test_a_range_is_damaged_at_the_files_own_offset(
    lab: Lab, client: Namespace, tmp_path: Path
) -> None:
    damage = lab.corrupt_http("^/root$", offset=200_000)
    before = len(damage.damaged)
    got = _get(client, "/root", tmp_path, "-r", "100000-")
    assert _differences(got, 100_000) == [200_000]
    assert _differences(_get(client, "/root", tmp_path, "-r", "0-199999")) == []
    assert _differences(_get(client, "/root", tmp_path, "-r", "200001-"), 200_001) == []
    assert len(damage.damaged) == before + 1
    damage.off()


def test_it_is_done_as_often_as_said(lab: Lab, client: Namespace, tmp_path: Path) -> None:
    damage = lab.corrupt_http("^/root$", offset=5, times=2)
    results = [_differences(_get(client, "/root", tmp_path)) for _ in range(4)]
    assert results == [[5], [5], [], []]
    damage.off()


def test_one_connection_carries_every_kind_of_response(lab: Lab, client: Namespace) -> None:
    damage = lab.corrupt_http("^/root$", offset=0)
    urls = [f"{URL}{path}" for path in ("/chunked", "/nothing", "/chunked", "/who")]
    said = client.run(
        ["curl", "-sS", "--max-time", "10", "-w", "<%{http_code} %{num_connects}>", *urls]
    )
    assert said == "onetwo!<200 1><204 0>onetwo!<200 0>10.44.0.50<200 0>"
    said = client.run(["curl", "-sS", "--max-time", "10", "-d", "x" * 5000, f"{URL}/report"])
    assert said == "5000"
    head = client.run(["curl", "-sSI", "--max-time", "10", f"{URL}/root"])
    assert f"Content-Length: {SIZE}" in head
    damage.off()


def test_a_cut_ends_the_connection_at_the_offset_and_can_be_resumed(
    lab: Lab, client: Namespace, tmp_path: Path
) -> None:
    damage = lab.corrupt_http("^/root$", offset=150_000, damage="cut", times=1)
    with pytest.raises(HarnessError, match="failed with 18"):
        _get(client, "/root", tmp_path)
    assert (tmp_path / "got").read_bytes() == DATA[:150_000]
    assert _get(client, "/root", tmp_path, "-C", "-") == DATA
    damage.off()


def test_a_stall_says_nothing_more(lab: Lab, client: Namespace, tmp_path: Path) -> None:
    damage = lab.corrupt_http("^/root$", offset=150_000, damage="stall")
    before = len(damage.damaged)
    with pytest.raises(HarnessError, match="failed with 28"):
        client.run(["curl", "-sS", "--max-time", "1", "-o", str(tmp_path / "got"), f"{URL}/root"])
    assert damage.wait_damage(count=before + 1, timeout=5)["damaged"] == "stall"
    assert (tmp_path / "got").read_bytes() == DATA[:150_000]
    damage.off()


def test_a_stall_ends_with_its_rule(lab: Lab, client: Namespace, tmp_path: Path) -> None:
    damage = lab.corrupt_http("^/root$", offset=150_000, damage="stall")
    before = len(damage.damaged)
    argv = ["curl", "-sS", "--max-time", "20", "-o", str(tmp_path / "got"), f"{URL}/root"]
    with (tmp_path / "log").open("wb") as log:
        stalled = client.spawn(argv, log=log)
    damage.wait_damage(count=before + 1, timeout=5)
    assert stalled.poll() is None
    damage.off()
    assert stalled.wait(5) in (18, 56)  # the connection was cut
    assert (tmp_path / "got").read_bytes() == DATA[:150_000]


def test_a_server_that_is_away_is_a_refused_connection(tmp_path: Path) -> None:
    with Lab.create() as other:
        other.corrupt_http("x", offset=0)
        client = other.client("c")
        with pytest.raises(HarnessError, match=r"failed with (52|56|7)\b"):
            _get(client, "/root", tmp_path)


def test_closing_leaves_no_rules_behind() -> None:
    with Lab.create() as other:
        server = other.network.server
        rules, tables = server.ip("rule"), server.run(["nft", "list", "ruleset"])
        with Corruptor(other.network, port=8080, log=other.directory / "r.log") as damage:
            damage.set(Rule("x", "flip", 1))
            assert server.run(["nft", "list", "ruleset"]) != tables
        assert server.ip("rule") == rules
        assert server.run(["nft", "list", "ruleset"]) == tables
        assert server.pids() == []
        assert not other.network.namespace("relay").exists


@pytest.mark.parametrize(
    "rule",
    [
        {"path": "(", "damage": "flip", "offset": 0},
        {"path": "x", "damage": "burn", "offset": 0},
        {"path": "x", "damage": "flip", "offset": -1},
        {"path": "x", "damage": "flip", "offset": 0, "times": -1},
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(HarnessError):
        Rule(**json.loads(json.dumps(rule)))
