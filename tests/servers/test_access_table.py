"""Every installed route × every kind of subject: who may, and who gets 403.

A route that is not in ``TABLE`` fails the test: add a line that says what it needs, with a request
for something in rack r1 and one for something in rack r2, where it makes a difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from bootserve.servers.admin.auth import Gate
from bootserve.servers.admin.paging import read_cursor
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.server import make_app
from tests.support.api import Admin
from tests.support.curl import curl

SITE = frozenset({"site"})
R1, R2, WEB = SITE | {"rack/r1"}, SITE | {"rack/r2"}, SITE | {"role/web"}
N1, N2, N0 = R1 | {"role/web"}, R2 | {"role/db"}, SITE
ANY: tuple[frozenset[str], ...] = ()
"""Places where a role is needed: in each of them; none for a role in any scope."""

DIGEST = "0" * 64


@dataclass(frozen=True)
class Ask:
    """A request, and the places it is about."""

    path: str
    places: tuple[frozenset[str], ...]
    body: dict[str, Any] = field(default_factory=dict)


def on(path: str, *places: frozenset[str], **body: Any) -> Ask:
    return Ask(path, places, body)


def nodes(rest: str = "", **body: Any) -> list[Ask]:
    """Requests about a node of r1, one of r2, and one that is not there."""
    names = (("n1", N1), ("n2", N2), ("none", N0))
    return [on(f"/nodes/{name}{rest}", place, **body) for name, place in names]


def scopes(path: str, **body: Any) -> list[Ask]:
    """Requests with each kind of scope in the body, or with a ``?`` at the end in the query."""
    table = {
        "site": SITE,
        "rack/r1": R1,
        "rack/r2": R2,
        "role/web": WEB,
        "node/n1": N1,
        "node/n2": N2,
        "node/none": N0,
    }
    if path.endswith("?"):
        return [on(f"{path}scope={scope}", place) for scope, place in table.items()]
    return [on(path, place, scope=scope, **body) for scope, place in table.items()]


MAC = ["52:54:00:00:00:77"]
NEW = {"name": "new", "macs": MAC}
TOKEN = {"name": "t", "role": "viewer"}
GRANT = {"subject": "uid:7", "role": "viewer"}

TABLE: dict[str, tuple[str, list[Ask]]] = {
    "GET /status": ("viewer", [on("/status")]),
    "POST /reload": ("admin", [on("/reload", SITE)]),
    "POST /scrub": ("operator", [on("/scrub", SITE)]),
    "GET /nodes": ("viewer", [on("/nodes")]),
    "POST /nodes": (
        "operator",
        [
            on("/nodes", R1, **NEW, rack="r1"),
            on("/nodes", N2, **NEW, rack="r2", role="db"),
            on("/nodes", SITE, **NEW),
        ],
    ),
    "GET /nodes/{name}": ("viewer", nodes()),
    "PATCH /nodes/{name}": (
        "operator",
        [
            *nodes(kernel_args="x"),
            on("/nodes/n1", N1, R2 | {"role/web"}, rack="r2"),
            on("/nodes/n2", N2, R1 | {"role/db"}, rack="r1"),
            on("/nodes/n1", N1, R1 | {"role/db"}, role="db"),
            on("/nodes/n1", N1, WEB, rack=""),
        ],
    ),
    "DELETE /nodes/{name}": ("operator", nodes()),
    "GET /nodes/{name}/explain": ("viewer", nodes("/explain")),
    "POST /nodes/{name}/release": ("operator", nodes("/release")),
    "GET /nodes/{name}/boot-once": ("viewer", nodes("/boot-once")),
    "PUT /nodes/{name}/boot-once": ("operator", nodes("/boot-once", action="local")),
    "DELETE /nodes/{name}/boot-once": ("operator", nodes("/boot-once")),
    "POST /nodes/{name}/reboot": ("operator", nodes("/reboot", hooks=False)),
    "DELETE /nodes/{name}/reboot": ("operator", nodes("/reboot")),
    "GET /drift": (
        "viewer",
        [on("/drift"), on("/drift?rack=r1", R1), on("/drift?rack=r2", R2)],
    ),
    "GET /nodes/{name}/drift": ("viewer", nodes("/drift")),
    "POST /nodes/{name}/drift/diff": ("operator", nodes("/drift/diff", file="/etc/x")),
    "GET /reboots": ("viewer", [on("/reboots")]),
    "GET /reboots/{id}": ("viewer", [on("/reboots/none")]),
    "GET /hooks": ("viewer", [on("/hooks")]),
    "POST /hooks/{name}/test": (
        "operator",
        [on("/hooks/h/test", N1, node="n1"), on("/hooks/h/test", N2, node="n2")],
    ),
    "GET /discovered": ("viewer", [on("/discovered")]),
    "POST /discovered/{mac}/adopt": (
        "operator",
        [
            on(f"/discovered/{MAC[0]}/adopt", R1, name="new", rack="r1"),
            on(f"/discovered/{MAC[0]}/adopt", R2, name="new", rack="r2"),
            on(f"/discovered/{MAC[0]}/adopt", SITE, name="new"),
        ],
    ),
    "DELETE /discovered/{mac}": ("operator", [on(f"/discovered/{MAC[0]}", SITE)]),
    "GET /roles": ("viewer", [on("/roles")]),
    "PUT /roles/{name}": (
        "operator",
        [on("/roles/web", WEB, image="x"), on("/roles/db", SITE | {"role/db"}, image="x")],
    ),
    "DELETE /roles/{name}": ("operator", [on("/roles/web", WEB), on("/roles/none", SITE)]),
    "GET /racks": ("viewer", [on("/racks")]),
    "PUT /racks/{name}": (
        "operator",
        [on("/racks/r1", R1, kernel_args=""), on("/racks/r2", R2, kernel_args="")],
    ),
    "GET /pins": ("viewer", [on("/pins")]),
    "PUT /pins": ("operator", scopes("/pins", generation="web@1")),
    "DELETE /pins": ("operator", scopes("/pins?")),
    "GET /revisions": ("viewer", [on("/revisions")]),
    "GET /rollouts": ("viewer", [on("/rollouts")]),
    "POST /rollouts": ("operator", scopes("/rollouts", generation="web@1")),
    "GET /rollouts/{number}": ("viewer", [on("/rollouts/1")]),
    "GET /rollouts/{number}/nodes": ("viewer", [on("/rollouts/1/nodes")]),
    "POST /rollouts/{number}/pause": ("operator", [on("/rollouts/1/pause", SITE)]),
    "POST /rollouts/{number}/resume": ("operator", [on("/rollouts/1/resume", SITE)]),
    "POST /rollouts/{number}/retry": ("operator", [on("/rollouts/1/retry", SITE)]),
    "POST /rollouts/{number}/abort": ("operator", [on("/rollouts/1/abort", SITE)]),
    "POST /rollback": ("operator", [on("/rollback", SITE, to=0)]),
    "GET /generations": ("viewer", [on("/generations")]),
    "POST /generations": ("operator", [on("/generations", SITE, manifest="{}")]),
    "GET /generations/{name}": ("viewer", [on("/generations/web@1")]),
    "DELETE /generations/{name}": ("operator", [on("/generations/web@1", SITE)]),
    "POST /generations/{name}/revoke": (
        "operator",
        [on("/generations/web@1/revoke", SITE, reason="why")],
    ),
    "POST /generations/{name}/unrevoke": (
        "operator",
        [on("/generations/web@1/unrevoke", SITE, reason="why")],
    ),
    "POST /generations/{name}/verify": ("operator", [on("/generations/web@1/verify", SITE)]),
    "GET /uploads/{hex}": ("operator", [on(f"/uploads/{DIGEST}", SITE)]),
    "GET /artifacts/{hex}": ("viewer", [on(f"/artifacts/{DIGEST}", SITE)]),
    "PUT /artifacts/{hex}": ("operator", [on(f"/artifacts/{DIGEST}?size=1", SITE)]),
    "GET /nbps": ("viewer", [on("/nbps")]),
    "POST /nbps": ("operator", [on("/nbps", SITE, name="a.efi", arch="x64", digest=DIGEST)]),
    "DELETE /nbps/{name}": ("operator", [on("/nbps/a.efi", SITE)]),
    "PUT /nbp-pins": ("operator", scopes("/nbp-pins", nbp="a.efi")),
    "DELETE /nbp-pins": ("operator", scopes("/nbp-pins?")),
    "GET /boots": (
        "viewer",
        [on("/boots"), on("/boots?node=n1", N1), on("/boots?node=n2", N2)],
    ),
    "GET /state": ("viewer", [on("/state", SITE)]),
    "GET /changes": ("viewer", [on("/changes?since=0", SITE)]),
    "POST /plan": ("viewer", [on("/plan", SITE, base=0, changes={})]),
    # what it changes is checked where it is committed: test_access.py
    "POST /apply": ("operator", [on("/apply", base=0, changes={})]),
    "GET /audit": ("viewer", [on("/audit", SITE)]),
    "GET /audit/key": ("viewer", [on("/audit/key", SITE)]),
    "GET /audit/head": ("viewer", [on("/audit/head", SITE)]),
    "POST /audit/verify": ("viewer", [on("/audit/verify", SITE)]),
    "GET /audit/export": ("viewer", [on("/audit/export?until=1", SITE)]),
    "GET /as-of": ("viewer", [on("/as-of?at=1", SITE)]),
    "GET /would-change": ("viewer", [on("/would-change")]),
    "GET /tokens": ("admin", [on("/tokens")]),
    "POST /tokens": (
        "admin",
        [
            on("/tokens", R1, **TOKEN, scopes=["rack/r1"]),
            on("/tokens", R2, **TOKEN, scopes=["rack:r2"]),
            on("/tokens", R1, R2, **TOKEN, scopes=["rack/r1", "rack/r2"]),
            on("/tokens", SITE, **TOKEN, scopes=["site"]),
        ],
    ),
    "DELETE /tokens/{name}": (
        "admin",
        [on("/tokens/admin-r1", R1), on("/tokens/viewer-site", SITE), on("/tokens/none", SITE)],
    ),
    "GET /access": ("admin", [on("/access")]),
    "PUT /access": (
        "admin",
        [
            on("/access", R1, **GRANT, scope="rack/r1"),
            on("/access", WEB, **GRANT, scope="role/web"),
            on("/access", SITE, **GRANT, scope="site"),
        ],
    ),
    "DELETE /access": (
        "admin",
        [
            on("/access?subject=uid:7&scope=rack/r1", R1),
            on("/access?subject=uid:7&scope=site", SITE),
        ],
    ),
    "GET /whoami": ("", [on("/whoami")]),
    "GET /login": ("", [on("/login")]),
}

SUBJECTS = {
    f"{role}-{name}": (role, scope)
    for role in ("viewer", "operator", "admin")
    for name, scope in (("r1", "rack/r1"), ("web", "role/web"), ("site", "site"))
}
RANKS = ["", "viewer", "operator", "admin"]


def may(role: str, scope: str, needed: str, places: tuple[frozenset[str], ...]) -> bool:
    if RANKS.index(role) < RANKS.index(needed):
        return False
    return not needed or all(scope in place for place in places)


def routes(admin: Admin) -> Iterator[str]:
    document = admin.call("GET", "/openapi.json")
    for path, item in document["paths"].items():
        for method in item:
            yield f"{method.upper()} {path.removeprefix('/api/v1')}"


@pytest.fixture(scope="module")
def tokens(admin: Admin) -> dict[str, str]:
    """A token for each subject, on a site with a node in each of two racks."""
    for role in ("web", "db"):
        admin.call("PUT", f"/roles/{role}", image=role)
    for name, rack, role, last in (("n1", "r1", "web", 1), ("n2", "r2", "db", 2)):
        mac = f"52:54:00:00:00:{last:02x}"
        admin.call("POST", "/nodes", name=name, macs=[mac], rack=rack, role=role)
    made = {
        name: admin.call("POST", "/tokens", name=name, role=role, scopes=[scope])["secret"]
        for name, (role, scope) in SUBJECTS.items()
    }
    return {**made, "nothing": _unbound(admin)}


def _unbound(admin: Admin) -> str:
    secret = admin.call("POST", "/tokens", name="nothing", role="admin", scopes=["site"])["secret"]
    admin.call("DELETE", "/access?subject=token:nothing&scope=site")
    return str(secret)


def test_every_installed_route_is_in_the_table(admin: Admin) -> None:
    missing = set(routes(admin)) - TABLE.keys()
    assert not missing, f"add to TABLE in {__file__}: {sorted(missing)}"
    assert TABLE.keys() == set(routes(admin))
    for key, (_, asks) in TABLE.items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", key.split()[1])
        for one in asks:
            assert re.fullmatch(pattern, one.path.partition("?")[0]), (key, one.path)


OTHERS = {"/api/v1/openapi.json": 401, "/metrics": 401, "/healthz": 200, "/readyz": 200}
"""What is no operation of the API, and what whoever has no token gets of it."""


def test_what_is_installed_is_what_the_document_says() -> None:
    """The table is held to the document; this holds the document to what answers requests."""
    empty = cast(AdminPlane, SimpleNamespace(**{one.name: None for one in fields(AdminPlane)}))
    app = make_app(empty, CollectorRegistry(), cast(Gate, None), lambda _request, error: None)
    installed = set()
    for route in app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        if route.method == "HEAD":
            assert path in OTHERS
        elif path in OTHERS:
            assert route.method == "GET"
        else:
            installed.add(f"{route.method} {path.removeprefix('/api/v1')}")
    assert installed == TABLE.keys()
    assert {one.canonical for one in app.router.resources()} >= OTHERS.keys()


def test_the_others_without_a_token(server: BootServer) -> None:
    for path, status in OTHERS.items():
        answer = curl(server.namespace, path, base="http://127.0.0.1:8081")
        assert answer.status == status, path


@pytest.mark.parametrize("subject", [*SUBJECTS, "nothing"])
def test_who_may_do_what(admin: Admin, tokens: dict[str, str], subject: str) -> None:
    before = admin.call("GET", "/status")["revision"]
    role, scope = SUBJECTS.get(subject, ("", ""))
    wrong = []
    for key, (needed, asks) in TABLE.items():
        for ask in asks:
            status = _status(admin, tokens[subject], key.split()[0], ask)
            allowed = status != 403
            if allowed != may(role, scope, needed, ask.places) or status in (400, 401):
                wrong.append((key, ask.path, ask.body, status))
    assert not wrong
    assert admin.call("GET", "/status")["revision"] == before


def _status(admin: Admin, token: str, method: str, ask: Ask) -> int:
    # a write that is allowed goes no further than its precondition, so that nothing changes
    headers = {"Authorization": f"Bearer {token}", "If-Match": '"0"'}
    body = json.dumps(ask.body).encode() if ask.body else None
    status, answer = admin.raw(method, "/api/v1" + ask.path, body, **headers)
    if method not in ("GET",):
        assert status in (412, 403, 400), (ask, status, answer)
    return status


def test_nobody_may_do_anything_without_a_token(admin: Admin, server: BootServer) -> None:
    for key, (needed, asks) in TABLE.items():
        method, path = key.split()[0], asks[0].path
        answer = curl(
            server.namespace, f"/api/v1{path}", "-X", method, base="http://127.0.0.1:8081"
        )
        assert answer.status == (200 if path == "/login" else 401), (key, needed)


def test_lists_show_what_is_in_scope(admin: Admin, tokens: dict[str, str]) -> None:
    def names(subject: str) -> list[str]:
        headers = {"Authorization": f"Bearer {tokens[subject]}"}
        _, answer = admin.raw("GET", "/api/v1/nodes", None, **headers)
        return [one["name"] for one in json.loads(answer)["nodes"]]

    assert names("viewer-site") == ["n1", "n2"]
    assert names("viewer-r1") == names("admin-r1") == names("operator-web") == ["n1"]


def test_no_cursor_names_what_is_not_shown(
    admin: Admin, tokens: dict[str, str], client: Namespace
) -> None:
    client.ip("link", "set", "eth1", "address", "52:54:00:00:00:02")
    admin.call("PUT", "/pins", scope="node/n2", generation=admin.publish("db", "1"))
    assert b"kernel" in curl(client, "/boot/52:54:00:00:00:02.ipxe").body
    for name in ("n1", "n2"):
        admin.call("POST", f"/nodes/{name}/reboot", by="none", hooks=False)

    def ask(subject: str, path: str) -> Any:
        headers = {"Authorization": f"Bearer {tokens[subject]}"}
        return json.loads(admin.raw("GET", f"/api/v1{path}?limit=1", None, **headers)[1])

    (boot,), (reboot,) = (ask("viewer-site", path)[path[1:]] for path in ("/boots", "/reboots"))
    assert (boot["node"], reboot["node"]) == ("n2", "n2")
    assert ask("viewer-r1", "/boots") == {"next": "", "boots": []}
    seen = ask("viewer-r1", "/reboots")
    assert [one["node"] for one in seen["reboots"]] == ["n1"]
    assert read_cursor(seen["next"], tuple)[1] == seen["reboots"][0]["id"]


def test_a_token_of_nothing_says_so(admin: Admin, tokens: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {tokens['nothing']}"}
    _, answer = admin.raw("GET", "/api/v1/whoami", None, **headers)
    assert json.loads(answer) == {"subject": "token:nothing", "bindings": []}
    assert admin.raw("GET", "/metrics", None, **headers)[0] == 403


def test_a_rack_operator_aims_no_credentials(admin: Admin, tokens: dict[str, str]) -> None:
    labels = {"bmc": "http://10.66.6.6:8000"}
    base = admin.call("GET", "/state")["revision"]
    whole = {"macs": ["52:54:00:00:00:01"], "rack": "r1", "role": "web", "labels": labels}
    asks = [
        ("PATCH", "/nodes/n1", {"labels": labels}, 403, 200),
        ("POST", "/nodes", {**NEW, "rack": "r1", "labels": labels}, 403, 201),
        ("POST", "/apply", {"base": base, "changes": {"nodes": {"n1": whole}}}, 403, 412),
        ("POST", f"/discovered/{MAC[0]}/adopt", {"name": "x", "labels": labels}, 400, 400),
    ]
    for who in ("operator-r1", "operator-site"):
        headers = {"Authorization": f"Bearer {tokens[who]}"}
        for method, path, body, *codes in asks:
            data = json.dumps(body).encode()
            status, answer = admin.raw(method, f"/api/v1{path}", data, **headers)
            assert status == codes[who == "operator-site"], (who, path, answer)
            assert status != 403 or b"server's own credentials" in answer, (path, answer)
    admin.call("DELETE", "/nodes/new")
    admin.call("PATCH", "/nodes/n1", labels={})
