"""What is fuzzed of the admin plane: every route of the API, by its body and by its query.

The routes are the server's own list, so a new one is fuzzed from the day it is there. A handler
runs until it needs a disk or a database: those are away.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import cache
from typing import Any, NoReturn, cast
from urllib.parse import parse_qsl

from aiohttp import web

from bootserve.core.audit_sign import PublicKeys, Signer, parse_public_key
from bootserve.core.audit_verify import Verifier
from bootserve.core.rollout_plan import RolloutPlan, plan_rollout
from bootserve.errors import BootserveError, InvalidInput, Unavailable
from bootserve.model.access import Subject
from bootserve.model.desired import Revision
from bootserve.servers.admin.accessbook import EVERYTHING
from bootserve.servers.admin.handling import parse_body, parse_if_match, parse_query
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, Empty, NoQuery, Query, Request, Route
from bootserve.servers.admin.schemas_access import LoginOut
from bootserve.servers.admin.server import all_routes
from bootserve.servers.audit import Verdict
from bootserve.servers.committer import Committer
from bootserve.servers.current import Current
from bootserve.service.files import load_scripts
from tests.fuzz.target import Target, in_words
from tests.support.states import MAC, generation, node, snapshot, state

__all__ = ["BODIES", "EXAMPLES", "ROUTES", "TARGETS", "each_odd_body", "name_of", "parsed_example"]

LOOP = asyncio.new_event_loop()
WHO = Subject("root", EVERYTHING, "uid:0")
SIGNER = Signer(
    b"-----BEGIN PRIVATE KEY-----\n"
    b"MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
    b"-----END PRIVATE KEY-----\n"
)


class Away:
    """A part of the server that can be asked for anything, and never answers."""

    def __getattr__(self, _name: str) -> Away:
        return Away()

    def __call__(self, *_words: object, **_named: object) -> NoReturn:
        raise Unavailable("it is away")

    def __iter__(self) -> NoReturn:
        raise Unavailable("it is away")

    def __contains__(self, _what: object) -> NoReturn:
        raise Unavailable("it is away")

    async def __aenter__(self) -> NoReturn:
        raise Unavailable("it is away")

    async def __aexit__(self, *_how: object) -> None: ...


class Desired(Away):
    """A store that takes every commit."""

    def commit(self, number: int, *_state: object, **said: Any) -> Revision:
        return Revision(number + 1, said["at"], said["author"], said["message"])


class Thread(Away):
    """The database's thread, which is this one."""

    async def run(self, work: Callable[..., Any], *words: Any, **named: Any) -> Any:
        return work(*words, **named)


class Rollouts(Away):
    """The desk of rollouts: it plans, and starts none."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def open(self) -> list[Any]:
        return []

    def plan(self, *asked: Any) -> RolloutPlan:
        return plan_rollout(self._current.snapshot, *asked[:4])


class Audit(Away):
    """The audit's desk: it reads the keys and the heads that it is given, and has no records."""

    signer = SIGNER

    async def verify(self, keys: Iterable[str], heads: Iterable[Any]) -> Verdict:
        trusted = [parse_public_key(key) for key in keys]
        verifier = Verifier("server", PublicKeys([SIGNER.public, *trusted]))
        for head in heads:
            verifier.claim_heads(head, "a head")
        return Verdict(found=verifier.found, findings=verifier.findings)


class Asked(Away):
    """The HTTP request: what of it is not in the call cannot be had."""

    def __getattr__(self, _name: str) -> Away:
        raise Unavailable("nobody reads what would be sent")


@cache
def _current() -> Current:
    desired = state(node(role="compute", rack="r1"), pins="site web@1")
    known = snapshot(desired, generation("web@1"), generation("web@2"))
    return Current(known, load_scripts(None))


_KNOWN = _current().snapshot


@cache
def _plane() -> AdminPlane:
    parts: dict[str, Any] = {one.name: Away() for one in fields(AdminPlane)}
    current, away = _current(), cast(Any, Away())
    committer = Committer(
        current, cast(Any, Desired()), away, away, cast(Any, Thread()), lambda _made: None
    )
    parts |= {
        "current": current,
        "committer": committer,
        "database": Thread(),
        "http_base": "http://10.77.0.1:8080",
        "rollouts": Rollouts(current),
        "audit": Audit(),
        "login": LoginOut(issuer="", client_id="", scope=""),
    }
    return AdminPlane(**parts)


def name_of(route: Route) -> str:
    """Return what ``route`` is called."""
    return f"{route.method} {route.path}"


def _mark(route: Route) -> bytes:
    """Return the two bytes that stand for ``route``, whatever other routes come and go."""
    return hashlib.sha256(name_of(route).encode()).digest()[:2]


ROUTES = all_routes(_plane())
BODIES = [route for route in ROUTES if route.body is not Empty]
"""The routes that read a body. One that is ``raw`` keeps it as it came, byte for byte."""
_BY_MARK = {_mark(route): route for route in ROUTES}
assert len(_BY_MARK) == len(ROUTES), "two routes have one mark: take more bytes"
_PATH = {
    "name": "n1",
    "mac": MAC,
    "hex": "0" * 64,
    "id": "0" * 32,
    "number": "1",
}


def _chosen(data: bytes, of: list[Route]) -> Route:
    """Return the route that the first two bytes of ``data`` stand for, or else choose."""
    marked = _BY_MARK.get(data[:2])
    return marked if marked in of else of[int.from_bytes(data[:2], "big") % len(of)]


def _call(route: Route, path: dict[str, str], query: Query, body: Request, base: Any) -> None:
    """Handle one request; it is answered, or refused in words that a client can be sent."""
    _current().snapshot = _KNOWN
    call = Call(WHO, path, query, body, cast(web.Request, Asked()), base)
    try:
        route.needs.check(call, _KNOWN.state)
        answer = LOOP.run_until_complete(cast(Any, route.handler(call)))
    except BootserveError as error:
        in_words(error)
        return
    if answer is not None:
        answer.model_dump_json()


def admin_body(data: bytes) -> None:
    """Two bytes choose the route, the rest is its body: refused in words, or answered."""
    route = _chosen(data, BODIES)
    try:
        body = parse_body(route, data[2:])
    except InvalidInput as error:
        in_words(error)
        return
    json.dumps(body.model_dump(mode="json"))
    _call(route, _PATH, NoQuery(), body, None)


def admin_query(data: bytes) -> None:
    """A query, a header If-Match and a name in the path, a line each, of any route."""
    route = _chosen(data, ROUTES)
    lines = [*data[2:].decode("utf-8", "surrogateescape").split("\n", 3), "", "*", ""]
    try:
        query = parse_query(route, parse_qsl(lines[0], keep_blank_values=True))
        base = parse_if_match(lines[1] or "*")
        body = parse_body(route, EXAMPLES.get(name_of(route), b"{}"))
    except InvalidInput as error:
        in_words(error)
        return
    assert base is None or base >= 0
    path = dict.fromkeys(_PATH, lines[2]) if lines[2] else _PATH
    _call(route, path, query, body, base if route.method != "GET" else None)


_MANIFEST = (
    b'{"manifest":"{\\"image\\":\\"web\\",\\"arch\\":\\"amd64\\",\\"artifacts\\":{\\"kernel\\":'
    b'{\\"sha256\\":\\"%b\\",\\"size\\":1}},\\"cmdline\\":\\"quiet\\"}"}' % (b"0" * 64)
)
_CHANGES = (
    b'"changes":{"nodes":{"n1":{"macs":["52:54:00:00:00:01"],"rack":"r1","role":"compute",'
    b'"arch":"arm64","boot":"local","labels":{"a":"b"}},"n2":null},"roles":{"gpu":{"image":"web"}},'
    b'"racks":{"r2":{"kernel_args":"quiet"}},"pins":[{"scope":"rack/r1","image":"web",'
    b'"generation":"web@2"},{"scope":"site","image":"web","generation":null}],"nbp_pins":'
    b'[{"scope":"site","arch":"x64","nbp":null}]}'
)
EXAMPLES: dict[str, bytes] = {
    "POST /nodes": b'{"name":"n2","macs":["52:54:00:00:00:02"],"rack":"r1","labels":{"a":"b"}}',
    "PATCH /nodes/{name}": b'{"macs":["52:54:00:00:00:01"],"nbp":"ipxe.efi","message":"m"}',
    "PUT /nodes/{name}/boot-once": b'{"action":"script","script":"#!ipxe\\nshell"}',
    "POST /discovered/{mac}/adopt": b'{"name":"n3","rack":"r1","role":"compute"}',
    "PUT /roles/{name}": b'{"image":"web","kernel_args":"quiet"}',
    "PUT /racks/{name}": b'{"kernel_args":"console=ttyS0"}',
    "PUT /pins": b'{"scope":"rack/r1","generation":"web@2","message":"m"}',
    "POST /rollback": b'{"to":1,"all":true,"dry_run":true}',
    "POST /generations": _MANIFEST,
    "POST /generations/{name}/revoke": b'{"reason":"CVE"}',
    "POST /generations/{name}/unrevoke": b'{"reason":"no CVE"}',
    "POST /nbps": b'{"name":"snponly.efi","arch":"x64","digest":"%b"}' % (b"0" * 64),
    "PUT /nbp-pins": b'{"scope":"rack/r1","nbp":"snponly.efi"}',
    "POST /plan": b'{"base":1,%b}' % _CHANGES,
    "POST /apply": b'{"base":1,"message":"m",%b}' % _CHANGES,
    "POST /nodes/{name}/reboot": b'{"by":"agent","hooks":false}',
    "POST /hooks/{name}/test": b'{"node":"n1"}',
    "POST /tokens": b'{"name":"ci","role":"viewer","scopes":["rack/r1"],"expires_at":9e9}',
    "PUT /access": b'{"subject":"user:ada","role":"admin","scope":"site"}',
    "POST /rollouts": b'{"scope":"site","generation":"web@2","stages":"1, 50%","dry_run":true}',
    "POST /rollouts/{number}/abort": b'{"keep_pins":true}',
    "POST /audit/verify": b'{"keys":["%b"],"heads":[{"server":"server","at":1,"heads":{"changes":'
    b'{"sequence":3,"hash":"%b"}},"key":"%b","signature":"AAAA"}]}'
    % (SIGNER.public_text.encode(), b"0" * 64, SIGNER.id.encode()),
    "POST /nodes/{name}/drift/diff": b'{"file":"/etc/motd"}',
}
"""A body for each route that reads one."""

ODD: list[Any] = [
    None, True, 0, -1, 1.5, 1e300, float("inf"), float("nan"), 1 << 70, "", "x", "1", "site",
    "rack/r1", "web@1", "\0", "\ud800", "é" * 200, [], [[]], [None], [1, "a"], {}, {"": {}},
    {"a": 1}, {"n1": 5}, {"n1": []},
]  # fmt: skip
"""What stands where something else is expected."""


def _put(document: Any, place: int, value: Any) -> tuple[Any, int]:
    """Return ``document`` with ``value`` at ``place``, its values being counted outside in.

    Also what is left of ``place`` behind ``document``: negative when the value was put.
    """
    if place == 0:
        return value, -1
    place -= 1
    made = document
    if isinstance(document, dict | list):
        made = dict(document) if isinstance(document, dict) else list(document)
        for key in list(made if isinstance(made, dict) else range(len(made))):
            if place >= 0:
                made[key], place = _put(made[key], place, value)
    return made, place


def each_odd_body() -> Iterator[tuple[Route, bytes]]:
    """Yield the example of each route with each odd value at each of its places."""
    for route in BODIES:
        example = json.loads(EXAMPLES[name_of(route)])
        for odd in ODD:
            left, place = -1, 0
            while left < 0:
                made, left = _put(example, place, odd)
                place += 1
                yield route, _mark(route) + json.dumps(made).encode()


def admin_values(data: bytes) -> None:
    """Two bytes choose the route; then each two put an odd value at a place of its example."""
    route = _chosen(data, BODIES)
    document = json.loads(EXAMPLES.get(name_of(route), b"{}"))
    for place, odd in list(zip(data[2::2], data[3::2], strict=False))[:4]:
        document, _ = _put(document, place % 64, ODD[odd % len(ODD)])
    admin_body(_mark(route) + json.dumps(document).encode())


_CURSORS = [b"cursor=Im4xIg", b"cursor=MQ", b"cursor=WyJ3ZWIiLDFd", b"cursor=WzEuNSwiYSJd"]
_QUERIES = {
    "GET /nodes": b"prefix=n",
    "GET /pins": b"limit=1",
    "GET /as-of": b"scope=rack/r1&at=1000",
    "GET /audit": b"since=1&until=2&node=n1&kind=revision",
    "GET /boots": b"node=n1",
    "GET /changes": b"since=1",
    "GET /would-change": b"scope=rack/r1",
    "DELETE /pins": b'scope=site&image=web\n"1"',
    "DELETE /nodes/{name}": b"message=m\n*\nn1",
    "DELETE /access": b"subject=uid:1&scope=site",
    "GET /rollouts/{number}": b"\n*\n12",
    "GET /generations/{name}": b"\n*\nweb@1",
}


def parsed_example(route: Route) -> Request:
    """Return the example of a body of ``route``, as the server reads it."""
    return parse_body(route, EXAMPLES[name_of(route)])


def _query_seeds() -> list[bytes]:
    named = {name_of(route): route for route in ROUTES}
    lists = [route for route in ROUTES if "cursor" in route.query.model_fields]
    return [
        *(_mark(named[name]) + said for name, said in _QUERIES.items()),
        *(_mark(route) + said for route in lists for said in _CURSORS),
    ]


TARGETS = {
    "admin": Target(
        admin_body, lambda: [_mark(route) + EXAMPLES.get(name_of(route), b"{}") for route in BODIES]
    ),
    "admin-values": Target(admin_values, lambda: [_mark(route) + b"\1\0" for route in BODIES]),
    "admin-query": Target(admin_query, _query_seeds),
}
