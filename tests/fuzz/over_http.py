"""What is fuzzed of the boot plane's HTTP: what is read before aiohttp, and what nodes say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from ipaddress import IPv4Interface
from typing import Any, cast
from urllib.parse import parse_qs

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage
from aiohttp.http_parser import HttpRequestParserPy
from yarl import URL

from bootserve.core.diffs import DiffBook
from bootserve.core.discovery import UnknownPolicy
from bootserve.core.drift import UNKNOWN
from bootserve.core.drift_text import MAX_ENTRIES
from bootserve.core.heartbeats import HeartbeatBook, Running
from bootserve.core.ipxe import Ipxe
from bootserve.errors import InvalidInput
from bootserve.model.boot import Discovered
from bootserve.model.drift import DriftChange, DriftEntry, Heartbeat
from bootserve.model.generation import GenerationRef
from bootserve.model.names import Mac, parse_mac
from bootserve.servers.boot.front import Listener, _Front, plain_headers
from bootserve.servers.boot.heartbeats import (
    Arrivals,
    HeartbeatDesk,
    Pace,
    parse_changed_file,
    parse_heartbeat,
)
from bootserve.servers.boot.plain_heartbeats import PlainHeartbeats
from bootserve.servers.boot.reports import NODE_PHASES, parse_report
from bootserve.servers.boot.scripts import ScriptDesk
from bootserve.servers.current import Current
from bootserve.service.files import load_scripts
from bootserve.store.drift import drift_record
from bootserve.store.journal_line import decode_line, decode_record, encode_line
from bootserve.store.records import DiscoveredRecord, JournalRecord
from tests.fuzz import seeds
from tests.fuzz.target import Target
from tests.support.states import MAC, generation, node, snapshot, state

__all__ = ["TARGETS"]

STRANGER = "52:54:00:00:00:77"
BOOT, TOKEN = "b" * 32, "a" * 64
LOOP = asyncio.new_event_loop()
CONNECTION = BaseProtocol(LOOP)


def _kept(record: JournalRecord) -> None:
    """The journal can carry ``record``."""
    written = decode_line(encode_line(7, record))
    assert written is not None
    assert written[0] == 7
    assert decode_record(written[1]) == record


def _only(data: bytes, parser: Any = HttpRequestParser) -> RawRequestMessage:
    """The one request that ``data`` is to aiohttp: whole, and without a body."""
    messages, upgraded, rest = parser(CONNECTION, LOOP, 1 << 16).feed_data(data)
    assert len(messages) == 1
    assert not upgraded
    assert not rest
    message = cast(RawRequestMessage, messages[0][0])
    assert not message.chunked
    assert message.headers.get("Content-Length", "0") == "0"
    return message


def http_head(data: bytes) -> None:
    """What the quick path takes for a plain header is harmless to aiohttp's parsers, too.

    There are two, in C and in Python; which one a server has depends on how aiohttp was installed.
    """
    if not plain_headers(data):
        return
    for parser in {HttpRequestParser, HttpRequestParserPy}:
        message = _only(b"GET /boot/x.ipxe HTTP/1.1" + data, parser)
        assert not message.should_close
        assert "Content-Length" not in message.headers
        assert "Range" not in message.headers


class Clock:
    """Of the event loop, what a connection needs: time, and timers that never ring."""

    def time(self) -> float:
        return 0.0

    def call_later(self, _seconds: float, _call: Any) -> Clock:
        return self

    def cancel(self) -> None: ...


class Wire(asyncio.Transport):
    """A connection: who has it now, and what was sent on it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.77.0.9", 2000)})
        self.sent: list[bytes] = []
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Scripts:
    """A desk that has a script for one machine, which is sent when it settles."""

    def __init__(self) -> None:
        self.asked = 0
        self.waiting: list[Any] = []

    def on_link(self, _address: str) -> bool:
        return True

    def quick(self, mac: str, _address: str, _on_link: bool, reply: Any) -> bool:
        if mac != MAC:
            return False
        self.asked += 1
        self.waiting.append(reply)
        return True

    def settle(self) -> None:
        waiting, self.waiting = self.waiting, []
        for reply in waiting:
            reply("#!ipxe\n")


class Rest(asyncio.Protocol):
    """aiohttp's part: what is handed over, after all that was asked before is answered."""

    def __init__(self, desk: Scripts) -> None:
        self._desk = desk
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert len(cast(Wire, transport).sent) == self._desk.asked

    def data_received(self, data: bytes) -> None:
        self.data += data


def front(data: bytes) -> None:
    """A slice that is one plain request is answered; another and all behind it is aiohttp's."""
    slices = [piece for piece in seeds.pieces(data) if piece][:50]
    if not slices:
        return
    desk, wire = Scripts(), Wire()
    rest = Rest(desk)
    listener = Listener(cast(ScriptDesk, desk), lambda: rest)
    wire.protocol = _Front(listener, cast(asyncio.AbstractEventLoop, Clock()), slices[0])
    cast(asyncio.Protocol, wire.protocol).connection_made(wire)
    for piece in slices[1:]:
        cast(asyncio.Protocol, wire.protocol).data_received(piece)
    desk.settle()
    assert rest.data == b"".join(slices[desk.asked :])
    assert len(wire.sent) == desk.asked
    assert len(listener.connections) == (not rest.data)
    for piece in slices[: desk.asked]:
        message = _only(piece)
        assert message.method == "GET"
        assert parse_mac(message.path.removeprefix("/boot/").removesuffix(".ipxe")) == MAC
        assert not message.should_close


class Written:
    """A recorder whose journal takes whatever it is given."""

    def __init__(self) -> None:
        self.changes: list[DriftChange] = []
        self.discoveries: list[Discovered] = []

    def sealed(self, *_words: object) -> None: ...

    def drifted(self, change: DriftChange) -> None:
        _kept(drift_record(change))
        self.changes.append(change)

    def discovered(self, found: Discovered) -> None:
        self.discoveries.append(found)

    def ipxe(self, _mac: Mac) -> Ipxe:
        return Ipxe()


class Node:
    """A node that is up, and the desk that hears it."""

    def __init__(self) -> None:
        digest = sha256(TOKEN.encode()).hexdigest()
        ref = GenerationRef("web", 1)
        self.running = Running("n1", BOOT, ref, "d" * 64, "e" * 64, digest, up_since=0, last_seen=0)
        self.book, self.written = HeartbeatBook(), Written()
        self.book.put(self.running)
        recorder = cast(Any, self.written)
        self.desk = HeartbeatDesk(
            self.book,
            DiffBook(),
            recorder,
            Arrivals(self.book, recorder),
            cast(Any, None),
            lambda _node, _boot: "r1",
            Pace(),
        )

    def says(self, said: Heartbeat, text: bytes = b"") -> str:
        return self.desk.take(self.running, said, text, 1.0)

    @property
    def told(self) -> tuple[object, ...]:
        one = self.running
        return one.root, one.uptime, one.baseline, one.drift, one.sealed, one.rebooting


def heartbeat(data: bytes) -> None:
    """A heartbeat that is answered before aiohttp is answered as aiohttp has it read."""
    node = Node()
    answer = PlainHeartbeats(node.desk, node.book).answer(data)
    text = data.partition(b"\r\n")[0].partition(b"?")[2].rpartition(b" ")[0].decode("latin-1")
    query: Mapping[str, str] = URL.build(path="/heartbeat", query_string=text, encoded=True).query
    if answer is not None:
        message = _only(data)
        assert (message.method, message.path.partition("?")[0]) == ("POST", f"/heartbeat/{BOOT}")
        assert message.should_close
        assert message.headers["Authorization"] == f"Bearer {TOKEN}"
        query = message.url.query
    try:
        said = parse_heartbeat(query)
    except InvalidInput:
        assert answer is None
        return
    assert 0 <= said.uptime < float("inf")
    other = Node()
    assert answer in (None, other.says(said))
    assert answer is None or node.told == other.told


def _text_of(entry: DriftEntry) -> str:
    """The line that says ``entry``, as a node writes it."""
    words = (entry.kind.value, entry.type or "-", entry.mode or "-", entry.owner or "-", entry.size)
    rest = f"{entry.mtime:.10f} {entry.sha256 or '-'} {entry.path}//{entry.detail}"
    return " ".join(map(str, words)) + " " + rest.replace("\n", "\x01") + "\n"


def drift(data: bytes) -> None:
    """What a node sends when it is asked for its drift, or for a file that was changed."""
    if data.startswith(b"total"):
        drift_text(data)
    else:
        changed_file(data)


def drift_text(data: bytes) -> None:
    """A drift is refused, or can be journalled, and is the same when it is told again."""
    node, digest = Node(), sha256(data).hexdigest()
    try:
        node.says(Heartbeat("web@1", "", 1.0, drift=digest), data)
    except InvalidInput:
        return
    running = node.running
    assert len(running.entries) <= min(running.count, MAX_ENTRIES)
    assert (running.known, len(node.written.changes)) == (digest, 1)
    assert digest != UNKNOWN
    again = f"total {running.count}\n" + "".join(map(_text_of, running.entries))
    other = Node()
    other.says(Heartbeat("web@1", "", 1.0, drift="f" * 64), again.encode())
    assert (other.running.count, other.running.entries) == (running.count, running.entries)


def changed_file(data: bytes) -> None:
    """A query, and behind a newline the two files: refused, or both are in it to the last byte."""
    text, _, body = data.partition(b"\n")
    query = {name: said[0] for name, said in parse_qs(text.decode("latin-1")).items()}
    try:
        file = parse_changed_file(BOOT, "/etc/motd", query, body)
    except InvalidInput:
        return
    assert (file.lower or b"") + (file.upper or b"") == body
    assert (file.lower is None) == (query["lower"] == "-")
    assert (file.upper is None) == (query["upper"] == "-")


def report(data: bytes) -> None:
    """A report's query and text: refused in words, or a record that the journal can carry."""
    line, _, body = data.partition(b"\n")
    query = {key: value[0] for key, value in parse_qs(line.decode("latin-1")).items()}
    try:
        record = parse_report("0" * 32, query, body, at=1.0)
    except InvalidInput:
        return
    assert record.phase in NODE_PHASES
    _kept(record)


@cache
def _current() -> Current:
    known = snapshot(state(node(role="compute"), pins="site web@1"), generation("web@1"))
    return Current(known, load_scripts(None))


def _stranger(said: dict[str, str]) -> tuple[str, list[Discovered]]:
    written = Written()
    desk = ScriptDesk(
        _current(),
        cast(Any, written),
        cast(Any, _Guards()),
        http_base="http://10.77.0.1:8080",
        unknown=UnknownPolicy.REGISTER,
        network=IPv4Interface("10.77.0.1/24"),
        neighbour=lambda _address: None,
    )
    return desk.script(STRANGER, "10.77.0.9", said, mint=True), written.discoveries


class _Guards:
    once = None


def said(data: bytes) -> None:
    """What a machine that is no node tells of itself is kept as text, and alters no script."""
    request = b"GET /boot/52-54-00-00-00-77.ipxe?%b HTTP/1.1\r\nHost: a\r\n\r\n" % data
    try:
        messages, _, _ = HttpRequestParser(CONNECTION, LOOP, 1 << 16).feed_data(request)
    except HttpProcessingError:
        return
    if not messages:
        return
    text, [told] = _stranger(dict(messages[0][0].url.query))
    assert text == _stranger({})[0]
    for one in (told.uuid, told.serial, told.manufacturer, told.product):
        assert len(one) <= 100
        assert one.isprintable() or not one
    _kept(DiscoveredRecord(told.mac, 1.0, "", told.uuid, "", told.serial, told.manufacturer))


_GET = (
    b"GET /boot/52-54-00-00-00-01.ipxe HTTP/1.1\r\nHost: 10.77.0.1:8080\r\n"
    b"User-Agent: iPXE/1.0.0\r\nConnection: keep-alive\r\n\r\n"
)
_BEAT = (
    b"POST /heartbeat/%b?generation=web@1&root=%b&baseline=%b&drift=&uptime=9.50&time=1716421330.25"
    b"&rebooting= HTTP/1.1\r\nHost: 10.77.0.1:8080\r\nUser-Agent: Wget\r\nConnection: close\r\n"
    b"Authorization: Bearer %b\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
    % (BOOT.encode(), b"e" * 64, b"c" * 64, TOKEN.encode())
)
_DRIFT = (
    b"total 3\nchanged file 0644 root:root 3287 1716421330.5 %b /etc/ssh/sshd_config//\n"
    b"mount - - - 0 0 - /usr/bin//tmpfs tmpfs\nmode link 777 0:0 9 -1 - /a\x01b//to\n" % (b"9" * 64)
)
_REPORT = b"phase=up&generation=web%401&root=" + b"0" * 64 + b"&uptime=12.5\nup\nlog"
_TOLD = b"uuid=4c4c4544-0042&serial=J1&manufacturer=Dell%20Inc.&product=R640"

TARGETS = {
    "http": Target(
        http_head,
        lambda: [b"\r\nHost: 10.0.0.1:8080\r\nUser-Agent: iPXE/1.0.0\r\n\r\n",
                 b"\r\nHost: a\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n",
                 b"\r\nHost: a\r\nConnection: close\r\n\r\n",
                 b"\r\nHost: a\r\nContent-Length: 3\r\nRange: bytes=0-\r\n\r\n"],
    ),
    "front": Target(
        front,
        lambda: [seeds.session(_GET), seeds.session(_GET, _GET.replace(b"-", b":", 5), _GET),
                 seeds.session(_GET, _GET[:30], _GET[30:]), seeds.session(_GET + _GET),
                 seeds.session(_GET, _GET.replace(b"-01", b"-02"), _GET),
                 seeds.session(_GET.replace(b"keep-alive", b"close"), _GET),
                 seeds.session(_GET.replace(b"GET", b"HEAD")), seeds.session(_BEAT)],
    ),
    "heartbeat": Target(
        heartbeat,
        lambda: [_BEAT, _BEAT.replace(b"drift=", b"drift=unknown"),
                 _BEAT.replace(b"Wget\r\n", b"Wget\r\nAccept: */*\r\n").replace(b"9.50", b"1e3"),
                 _BEAT.replace(b"close", b"keep-alive")],
    ),
    "drift": Target(
        drift,
        lambda: [_DRIFT, b"total 0\n", b"total 2000\n" + _DRIFT[8:],
                 b"lower=3&upper=4&cut=1\nonetwo!", b"lower=-&upper=2\nab"],
    ),
    "report": Target(report, lambda: [_REPORT, b"phase=failed&uptime=1\nwhy", b"phase=&root=zz"]),
    "said": Target(said, lambda: [_TOLD, b"serial=%00%1b&uuid=%f0%9f%90%a7&preview=1", b"a&b=;"]),
}  # fmt: skip
