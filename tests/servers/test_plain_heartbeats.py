"""A heartbeat as nodes send it is answered before aiohttp, and any other by aiohttp alone."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from bootserve.core.heartbeats import HeartbeatBook, Running
from bootserve.errors import InvalidInput
from bootserve.model.drift import Heartbeat
from bootserve.model.generation import GenerationRef
from bootserve.servers.boot.plain_heartbeats import PlainHeartbeats

BOOT, TOKEN = "b" * 32, "a" * 64
HEADERS = {
    "Host": "10.0.0.2:8080",
    "User-Agent": "Wget",
    "Connection": "close",
    "Authorization": f"Bearer {TOKEN}",
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": "0",
}


class Desk:
    """Takes what it is given, and refuses uptime 13."""

    def __init__(self) -> None:
        self.taken: list[Heartbeat] = []

    def take(self, _running: Running, said: Heartbeat, text: bytes, now: float) -> str:
        assert (text, now > 1e9) == (b"", True)
        if said.uptime == 13:
            raise InvalidInput("no")
        self.taken.append(said)
        return "interval=60\n"


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def plain(desk: Any) -> PlainHeartbeats:
    book, ref = HeartbeatBook(), GenerationRef("web", 1)
    digest = sha256(TOKEN.encode()).hexdigest()
    book.put(Running("n1", BOOT, ref, "d" * 64, "r" * 64, digest, up_since=0, last_seen=0))
    return PlainHeartbeats(desk, book)


def request(
    query: str = "generation=web@1&uptime=9.5&time=12.25&rebooting=", **headers: str
) -> bytes:
    said = {name: value for name, value in {**HEADERS, **headers}.items() if value}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in said.items())
    return f"POST /heartbeat/{BOOT}?{query} HTTP/1.1\r\n{lines}\r\n".encode()


def test_what_a_node_sends_is_taken(plain: PlainHeartbeats, desk: Desk) -> None:
    assert plain.answer(request()) == "interval=60\n"
    assert desk.taken == [Heartbeat("web@1", "", 9.5, 12.25)]


@pytest.mark.parametrize(
    "asked",
    [
        request()[:-1],
        request() + b"x",
        request() * 2,
        request().replace(b"POST", b"PUT"),
        request().replace(BOOT.encode(), b"c" * 32),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request("uptime=%39"),
        request("uptime=13"),
        request("uptime=1&uptime=2"),
        request("uptime&uptime=2"),
        request().replace(b"Host: 10.0.0.2:8080", b"Host"),
        request(Host="10.0.0.2\r\0"),
        request(Host="10.0.0.2\x80"),
        request("uptime=never"),
        request("root=1"),
        request(Authorization=f"Bearer {'b' * 64}"),
        request(Authorization=f"Basic {TOKEN}"),
        request(Authorization=""),
        request(Connection="keep-alive"),
        request(Host=""),
        request(**{"Content-Length": "1"}),
        request(**{"Content-Length": ""}),
        request(**{"Transfer-Encoding": "chunked"}),
        request(Expect="100-continue"),
        request(host="twice"),
        request(Accept="x" * 2000),
    ],
)
def test_all_else_is_left(plain: PlainHeartbeats, desk: Desk, asked: bytes) -> None:
    assert plain.answer(asked) is None
    assert not desk.taken


def test_every_cut_of_a_request_is_left(plain: PlainHeartbeats, desk: Desk) -> None:
    whole = request()
    assert [plain.answer(whole[:end]) for end in range(len(whole))] == [None] * len(whole)
    assert not desk.taken
