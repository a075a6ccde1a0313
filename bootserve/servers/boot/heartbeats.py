"""``POST /heartbeat/{boot_id}``: what a node runs now, and what it is asked in return."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from aiohttp import web

from bootserve.core.diffs import MAX_FILE, ChangedFile, DiffBook
from bootserve.core.drift import UNKNOWN
from bootserve.core.drift_text import parse_drift
from bootserve.core.heartbeats import HeartbeatBook, Running, stretch
from bootserve.core.timeline import ActiveBoot
from bootserve.errors import InvalidInput, Refused
from bootserve.model.drift import Heartbeat
from bootserve.servers.boot.recorder import Recorder

__all__ = [
    "Arrivals",
    "Authenticate",
    "HeartbeatDesk",
    "Pace",
    "RebootWanted",
    "parse_changed_file",
    "parse_heartbeat",
    "routes",
]

MAX_BODY = 64 << 10
REBOOT_WITHIN = 300
"""Seconds for the orderly end of a node that was asked to reboot; then it reboots without."""

RebootWanted = Callable[[str, str], str | None]
"""Returns, by node and boot, under what name the node is asked to reboot; None for not at all."""

Authenticate = Callable[[web.Request], Awaitable[ActiveBoot]]
"""Returns the boot whose token a request carries; raises as ReportDesk.authenticate does."""

_HEX = re.compile("[0-9a-f]{64}")
_DIGEST = re.compile(f"([0-9a-f]{{64}}|{UNKNOWN})?")
_NAME = re.compile(r"[A-Za-z0-9._-]{0,100}")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between a node's heartbeats, and how many a second of all nodes are too many."""

    seconds: float = 60.0
    most: float = 200.0

    def interval(self, nodes: int) -> float:
        """Return the seconds between two heartbeats of each of ``nodes``."""
        return stretch(self.seconds, nodes, self.most)


class Arrivals:
    """Enters nodes that are up in the book, and seals the snapshot that each took of itself."""

    def __init__(
        self,
        book: HeartbeatBook,
        recorder: Recorder,
        spoke: Callable[[Running, float], None] = lambda _running, _at: None,
    ) -> None:
        """``spoke`` is told of each word of a node that is up, and when it came."""
        self._book = book
        self._recorder = recorder
        self.spoke = spoke

    def came_up(self, active: ActiveBoot, root: str, baseline: str, at: float) -> None:
        """Note that a node is up; the first ``baseline`` that it tells of a boot is sealed.

        ``baseline`` is empty for a node that takes no snapshot and sends no heartbeats.
        """
        if not re.fullmatch(_DIGEST, baseline):
            raise InvalidInput("baseline must be a sha256: 64 hexadecimal digits")
        running = self._book.at_boot(active.boot.id)
        if running is None:
            running = self.enter(active, at)
        running.root, running.last_seen = root, at
        self.seal(running, baseline, at)
        self.spoke(running, at)

    def seal(self, running: Running, baseline: str, at: float) -> None:
        """Seal ``baseline`` for the boot that is running, unless one is."""
        if baseline in ("", UNKNOWN) or running.sealed:
            return
        running.sealed = running.baseline = baseline
        running.agent = True
        self._recorder.sealed(running.node, running.boot, baseline, at)

    def enter(self, active: ActiveBoot, at: float) -> Running:
        """Return what a node of this boot runs, now entered in the book."""
        running = _running(active, at)
        self._book.put(running)
        return running


class HeartbeatDesk:
    """Takes heartbeats, notes them in the book, and answers with what the node is to do.

    A heartbeat is written down only where the node's drift is another than before. ``answer`` is
    lines of ``KEY=VALUE``: ``interval`` (seconds to the next one), ``send=drift`` (its drift is not
    known here), ``file`` (a changed file to send), ``reboot`` (the name under which that is asked
    for) and ``reboot_within`` (seconds).
    """

    def __init__(
        self,
        book: HeartbeatBook,
        diffs: DiffBook,
        recorder: Recorder,
        arrivals: Arrivals,
        authenticate: Authenticate,
        reboot_wanted: RebootWanted,
        pace: Pace,
    ) -> None:
        self._book = book
        self._diffs = diffs
        self._recorder = recorder
        self._arrivals = arrivals
        self._authenticate = authenticate
        self._reboot_wanted = reboot_wanted
        self._pace = pace

    async def _find(self, request: web.Request) -> Running:
        """Return what the request's node runs; raises as ``authenticate`` does."""
        running = self._book.at_boot(request.match_info["boot_id"])
        if running is not None:
            _, _, token = request.headers.get("Authorization", "").partition(" ")
            digest = sha256(token.strip().encode()).hexdigest()
            if hmac.compare_digest(digest, running.token_hash):
                return running
        active = await self._authenticate(request)
        return self._arrivals.enter(active, time.time())

    async def heartbeat(self, request: web.Request) -> web.Response:
        """Take one heartbeat: fields in the query, the drift's text in the body if it is new."""
        running = await self._find(request)
        said = parse_heartbeat(request.query)
        text = await _body(request, MAX_BODY) if request.body_exists else b""
        if text and sha256(text).hexdigest() != said.drift:
            raise InvalidInput("drift must be the sha256 of the body")
        answer = self.take(running, said, text, time.time())
        return web.Response(text=answer, headers={"Cache-Control": "no-store"})

    def take(self, running: Running, said: Heartbeat, text: bytes, now: float) -> str:
        """Note a heartbeat and, if there is any, the ``text`` of its drift; return the answer."""
        self._arrivals.seal(running, said.baseline, now)
        interval = self._pace.interval(len(self._book))
        if self._book.heard(running, said, interval, now):
            self._compare(running, said.drift, text, now)
        self._arrivals.spoke(running, now)
        return self._answer(running)

    def _compare(self, running: Running, digest: str, text: bytes, now: float) -> None:
        if text:
            count, entries = parse_drift(text)
        elif digest:
            return  # it is asked for
        else:
            count, entries = 0, ()
        change = self._book.altered(running, digest, count, entries, now)
        if change is not None:
            self._recorder.drifted(change)

    def _answer(self, running: Running) -> str:
        lines = [f"interval={running.interval:.0f}"]
        if running.drift not in (running.known, UNKNOWN):
            lines.append("send=drift")
        file = self._diffs.wanted(running.node)
        if file is not None:
            lines.append(f"file={file}")
        wish = self._reboot_wanted(running.node, running.boot)
        if wish is not None:
            lines += [f"reboot={wish}", f"reboot_within={REBOOT_WITHIN}"]
        return "\n".join(lines) + "\n"

    async def file(self, request: web.Request) -> web.Response:
        """Take a changed file that was asked for: the image's bytes, then the node's.

        ``lower`` and ``upper`` of the query are their lengths, or ``-`` where there is none.
        """
        running = await self._find(request)
        path = request.query.get("path", "")
        if self._diffs.wanted(running.node) != path:
            raise Refused("this file was not asked for")
        body = await _body(request, 2 * MAX_FILE)
        file = parse_changed_file(running.boot, path, request.query, body)
        self._diffs.sent(running.node, file)
        return web.Response(status=202)


def _running(active: ActiveBoot, now: float) -> Running:
    boot = active.boot
    return Running(
        node=boot.node,
        boot=boot.id,
        generation=boot.generation,
        digest=boot.digest,
        expected_root=active.root,
        token_hash=active.token_hash,
        up_since=now,
        last_seen=now,
    )


def parse_heartbeat(query: Mapping[str, str]) -> Heartbeat:
    """Return what ``query`` says; raises InvalidInput that names the wrong field."""
    generation, root = query.get("generation", ""), query.get("root", "")
    baseline, drift = query.get("baseline", ""), query.get("drift", "")
    rebooting = query.get("rebooting", "")
    if len(generation) > 100 or not generation.isprintable():
        raise InvalidInput("generation must be written as IMAGE@N")
    if root and not _HEX.fullmatch(root):
        raise InvalidInput("root must be a sha256: 64 hexadecimal digits")
    for name, digest in (("baseline", baseline), ("drift", drift)):
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput(f"{name} must be a sha256, or {UNKNOWN}")
    if not _NAME.fullmatch(rebooting):
        raise InvalidInput("rebooting must be the name that the answer had")
    uptime = _seconds(query, "uptime") or 0.0
    return Heartbeat(generation, root, uptime, _seconds(query, "time"), baseline, drift, rebooting)


def _seconds(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise InvalidInput(f"{name} must be a number of seconds") from None
    if not 0 <= value < 1e11:
        raise InvalidInput(f"{name} must be a number of seconds")
    return value


def parse_changed_file(boot: str, path: str, query: Mapping[str, str], body: bytes) -> ChangedFile:
    """Return the file that ``body`` holds, in the two parts whose lengths are in ``query``.

    Raises InvalidInput when they are not the lengths of the body.
    """
    lengths = [query.get(name, "") for name in ("lower", "upper")]
    if not all(re.fullmatch("-|[0-9]{1,6}", length) for length in lengths):
        raise InvalidInput("lower and upper must be lengths in bytes, or -")
    lower, upper = (None if length == "-" else int(length) for length in lengths)
    if (lower or 0) + (upper or 0) != len(body):
        raise InvalidInput("lower and upper must be the lengths of the body's two parts")
    edge = lower or 0
    return ChangedFile(
        boot=boot,
        path=path,
        at=time.time(),
        lower=None if lower is None else body[:edge],
        upper=None if upper is None else body[edge:],
        cut=query.get("cut") == "1",
    )


async def _body(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise InvalidInput(f"the body is larger than {limit} bytes")
    return bytes(body)


def routes(desk: HeartbeatDesk) -> list[web.AbstractRouteDef]:
    """Return the routes of heartbeats."""
    return [
        web.post("/heartbeat/{boot_id}", desk.heartbeat),
        web.post("/heartbeat/{boot_id}/file", desk.file),
    ]
