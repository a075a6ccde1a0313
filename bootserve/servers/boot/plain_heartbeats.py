"""Heartbeats as nodes send them, answered without aiohttp, at a fraction of the cost.

A request that differs in anything from what ``images/node/root/usr/lib/bootserve/heartbeat`` sends
with nothing to tell, or whose token is not the one that is known, is left to aiohttp.
"""

from __future__ import annotations

import hmac
import re
import time
from hashlib import sha256

from bootserve.core.heartbeats import HeartbeatBook
from bootserve.errors import BootserveError
from bootserve.servers.boot.heartbeats import HeartbeatDesk, parse_heartbeat

__all__ = ["PlainHeartbeats"]

_REQUEST = re.compile(
    rb"POST /heartbeat/([0-9a-f]{32})\?([A-Za-z0-9@._=&-]{1,1500}) HTTP/1\.1"
    rb"\r\n([\x20-\x7e]{1,200}(?:\r\n[\x20-\x7e]{1,200}){3,6})\r\n\r\n"
)
_TOKEN = re.compile(rb"Bearer ([0-9a-f]{64})")
_NEEDED = {b"host", b"authorization", b"connection", b"content-length"}
_HARMLESS = {b"user-agent", b"content-type", b"accept"}


class PlainHeartbeats:
    """Answers the plain heartbeats of the nodes in ``book`` as ``desk`` does."""

    def __init__(self, desk: HeartbeatDesk, book: HeartbeatBook) -> None:
        self._desk = desk
        self._book = book

    def answer(self, request: bytes) -> str | None:
        """Return the answer's text, after which the connection ends, or None to leave it."""
        match = _REQUEST.fullmatch(request)
        running = self._book.at_boot(match[1].decode()) if match else None
        token = _token(match[3]) if match and running else None
        if match is None or running is None or token is None:
            return None
        if not hmac.compare_digest(sha256(token).hexdigest(), running.token_hash):
            return None
        pairs = [part.partition("=")[::2] for part in match[2].decode().split("&")]
        if len(said := dict(pairs)) != len(pairs):
            return None  # of a field that is there twice aiohttp takes the first
        try:
            return self._desk.take(running, parse_heartbeat(said), b"", time.time())
        except BootserveError:
            return None


def _token(headers: bytes) -> bytes | None:
    """Return the token of a request that has no body and ends its connection, else None."""
    fields: dict[bytes, bytes] = {}
    for line in headers.split(b"\r\n"):
        name, colon, value = line.partition(b": ")
        if (name := name.lower()) in fields or not colon:
            return None
        fields[name] = value
    if not (fields.keys() >= _NEEDED and fields.keys() - _NEEDED <= _HARMLESS):
        return None
    if fields[b"content-length"] != b"0" or fields[b"connection"].lower() != b"close":
        return None
    match = _TOKEN.fullmatch(fields[b"authorization"])
    return match[1] if match else None
