"""``POST /report/{boot_id}`` and ``GET /seed/{boot_id}/…``: what a node says and may read."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256

from aiohttp import web

from bootserve.core.loops import LoopGuard
from bootserve.core.seed import SEED_FILES, seed_file
from bootserve.core.timeline import ActiveBoot, Timeline
from bootserve.errors import InvalidInput, NotFound, Refused, Unauthorized
from bootserve.model.boot import Phase
from bootserve.servers.boot.recorder import Recorder
from bootserve.servers.current import Current
from bootserve.store.records import ReportRecord

__all__ = ["NODE_PHASES", "BootFinder", "CameUp", "ReportDesk", "parse_report", "routes"]

MAX_REPORTS = 500
MAX_BODY = 64 << 10
NODE_PHASES = frozenset(
    {Phase.INITRAMFS, Phase.ROOT, Phase.VERIFIED, Phase.MOUNTED, Phase.UP, Phase.FAILED}
)

CameUp = Callable[[ActiveBoot, str, str, float], None]
"""Is told of a boot that is up, its root's digest, its baseline and the time."""

BootFinder = Callable[[str], Awaitable[ActiveBoot | None]]
"""Looks a boot up by its id where boots are kept; raises Unavailable while that is away."""


class ReportDesk:
    """Takes reports and opens seeds for the holder of a boot's token.

    The node makes the token. The first request that carries one binds the boot to it: the trade
    of boot id for token, which a lost answer cannot spoil, since the same token is taken again
    and any other refused.
    """

    def __init__(
        self,
        current: Current,
        timeline: Timeline,
        recorder: Recorder,
        loops: LoopGuard,
        find: BootFinder,
        came_up: CameUp | None = None,
    ) -> None:
        self._current = current
        self._timeline = timeline
        self._recorder = recorder
        self._loops = loops
        self._find = find
        self._came_up = came_up

    async def authenticate(self, request: web.Request, *, bind: bool) -> ActiveBoot:
        """Return the request's boot.

        Raises NotFound for an unknown boot, Unauthorized without a token, Refused for another
        token than the one bound.
        """
        boot_id = request.match_info["boot_id"]
        active = self._timeline.get(boot_id)
        if active is None and re.fullmatch("[0-9a-f]{32}", boot_id):
            active = await self._find(boot_id)
            if active is not None:
                self._timeline.restore([active])
        if active is None:
            raise NotFound("there is no such boot")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not re.fullmatch("[0-9a-f]{64}", token.strip()):
            raise Unauthorized("this needs the boot's token: Authorization: Bearer, 64 hex digits")
        digest = sha256(token.strip().encode()).hexdigest()
        if not active.token_hash and bind:
            self._recorder.bound(active, digest)
        if not hmac.compare_digest(active.token_hash, digest):
            raise Refused("this boot is bound to another token")
        return active

    async def report(self, request: web.Request) -> web.Response:
        """Take one report: fields in the query, free text in the body."""
        active = await self.authenticate(request, bind=True)
        if active.reports >= MAX_REPORTS:
            return web.Response(status=429, text="too many reports of one boot\n")
        body = await _body(request)
        report = parse_report(active.boot.id, request.query, body, at=time.time())
        if report.phase == Phase.UP and self._came_up is not None:
            self._came_up(active, report.root, request.query.get("baseline", ""), report.at)
        self._recorder.reported(active, report)
        if report.phase != Phase.FAILED:
            self._loops.release(active.boot.mac)
        return web.Response(status=202)

    async def seed(self, request: web.Request) -> web.Response:
        """Serve one file of the NoCloud seed."""
        active = await self.authenticate(request, bind=False)
        text = seed_file(request.match_info["file"], self._current.snapshot, active.boot)
        return web.Response(text=text, headers={"Cache-Control": "no-store"})


async def _body(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise InvalidInput(f"a report's text is at most {MAX_BODY} bytes")
    return bytes(body)


def parse_report(boot: str, query: Mapping[str, str], body: bytes, *, at: float) -> ReportRecord:
    """Return the report on the boot with id ``boot`` that ``query`` and ``body`` make.

    ``at`` is seconds since the epoch. Raises InvalidInput that says which field is wrong.
    """
    phase = query.get("phase", "")
    if phase not in NODE_PHASES:
        raise InvalidInput(f"phase must be one of {', '.join(sorted(NODE_PHASES))}")
    root, generation = query.get("root", ""), query.get("generation", "")
    if not re.fullmatch("([0-9a-f]{64})?", root):
        raise InvalidInput("root must be a sha256: 64 hexadecimal digits")
    if len(generation) > 100 or not generation.isprintable():
        raise InvalidInput("generation must be written as IMAGE@N")
    try:
        uptime = float(query.get("uptime", "0"))
    except ValueError:
        raise InvalidInput("uptime must be a number of seconds") from None
    if not 0 <= uptime < 1e10:
        raise InvalidInput("uptime must be a number of seconds")
    return ReportRecord(
        boot=boot,
        phase=phase,
        at=at,
        generation=generation,
        root=root,
        uptime=uptime,
        detail=body.decode("utf-8", "replace").replace("\0", ""),
    )


def routes(desk: ReportDesk) -> list[web.AbstractRouteDef]:
    """Return the routes of reports and seeds."""
    files = "|".join(SEED_FILES)
    return [
        web.post("/report/{boot_id}", desk.report),
        web.get(f"/seed/{{boot_id}}/{{file:{files}}}", desk.seed),
    ]
