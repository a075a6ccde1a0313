"""The admin plane: who may speak to it, what it refuses, and that its document is true."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from vm_harness.net import Namespace
from vm_harness.server import BootServer

from tests.support.api import Admin, Problem
from tests.support.curl import Answer, curl
from tests.support.states import manifest

TCP = "http://127.0.0.1:8081"


@pytest.fixture(scope="module")
def token(server: BootServer) -> str:
    return (server.state_dir / "admin.token").read_text().strip()


def ask(server: BootServer, path: str, *headers: str) -> Answer:
    options = [word for header in headers for word in ("-H", header)]
    return curl(server.namespace, path, *options, base=TCP)


def test_tcp_needs_the_token(server: BootServer, token: str) -> None:
    assert len(token) == 64
    assert ask(server, "/api/v1/status").status == 401
    assert ask(server, "/api/v1/status", "Authorization: Bearer wrong").status == 401
    assert ask(server, "/metrics").status == 401
    answer = ask(server, "/api/v1/status", f"Authorization: Bearer {token}")
    [segment] = json.loads(answer.body)["segments"]
    assert (answer.status, segment["interface"]) == (200, "eth1")


def test_health_needs_no_token(server: BootServer) -> None:
    assert ask(server, "/healthz").text == "ok\n"
    assert ask(server, "/readyz").text == "ready\n"


@pytest.mark.parametrize(
    "header",
    ["Host: evil.example", "Host: 10.44.0.2:8081", "Origin: http://evil.example", "Origin: null"],
)
def test_a_browser_elsewhere_cannot_reach_it(server: BootServer, token: str, header: str) -> None:
    answer = ask(server, "/api/v1/status", f"Authorization: Bearer {token}", header)
    assert answer.status == 403
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_it_does_not_listen_on_the_provisioning_network(client: Namespace) -> None:
    said = client.run(["sh", "-c", "curl -sS --max-time 5 http://10.44.0.2:8081/healthz 2>&1; :"])
    assert "Failed to connect" in said or "refused" in said


def test_changes_carry_who_made_them(server: BootServer, token: str, admin: Admin) -> None:
    admin.call("PUT", "/racks/r1", kernel_args="quiet", message="by socket")
    options = ["-X", "PUT", "-H", f"Authorization: Bearer {token}", "-d", '{"kernel_args": ""}']
    assert curl(server.namespace, "/api/v1/racks/r1", *options, base=TCP).status == 200
    two, one = admin.call("GET", "/revisions?limit=2")["revisions"]
    assert (one["author"], one["message"]) == ("root", "by socket")
    assert (two["author"], two["message"]) == ("token:admin", "set rack r1")


BAD: list[tuple[str, str, bytes, int, str]] = [
    ("POST", "/nodes", b"{", 400, "not JSON"),
    ("POST", "/nodes", b"[" * 100_000, 400, "not JSON"),
    ("POST", "/nodes", b"[]", 400, "body"),
    ("POST", "/nodes", b"{}", 400, "body.name"),
    ("POST", "/nodes", b'{"name": "a", "macs": []}', 400, "body.macs"),
    ("POST", "/nodes", b'{"name": "A", "macs": ["52:54:00:00:00:01"]}', 400, "node name"),
    ("POST", "/nodes", b'{"name": "a", "macs": ["zz"]}', 400, "not a MAC"),
    ("POST", "/nodes", b'{"name": "a", "macs": ["52:54:00:00:00:01"], "x": 1}', 400, "body.x"),
    (
        "POST",
        "/nodes",
        b'{"name": "a", "macs": ["52:54:00:00:00:01"], "kernel_args": "a || b"}',
        400,
        "kernel arguments",
    ),
    ("PATCH", "/nodes/nope", b"{}", 404, "no node nope"),
    ("GET", "/nodes/nope", b"", 404, "no node nope"),
    ("GET", "/nodes/nope/explain", b"", 404, "no node nope"),
    ("PUT", "/pins", b'{"scope": "shelf/1", "generation": "web@1"}', 400, "not a scope"),
    ("PUT", "/pins", b'{"scope": "site", "generation": "web"}', 400, "not name a generation"),
    ("PUT", "/pins", b'{"scope": "site", "generation": "web@77"}', 404, "no generation web@77"),
    ("DELETE", "/pins?scope=site", b"", 404, "no pin"),
    ("DELETE", "/pins?scope=site&shelf=1", b"", 400, "query.shelf"),
    ("PUT", "/roles/new", b"{}", 400, "name the image"),
    ("DELETE", "/roles/new", b"", 404, "no role new"),
    ("POST", "/rollback", b'{"to": 99999}', 404, "no revision 99999"),
    ("GET", "/revisions?limit=0", b"", 400, "query.limit"),
    ("GET", "/boots?before=nope", b"", 404, "no boot"),
    ("GET", "/generations/web", b"", 400, "not name a generation"),
    ("GET", "/generations/web@9", b"", 404, "no generation"),
    ("DELETE", "/generations/web@9", b"", 404, "no generation"),
    ("POST", "/generations", b'{"manifest": "{}"}', 400, "malformed"),
    ("PUT", "/artifacts/xyz?size=1", b"x", 400, "digest"),
    ("PUT", f"/artifacts/{'0' * 64}", b"x", 400, "query.size"),
    ("PUT", f"/artifacts/{'0' * 64}?size=1", b"x", 422, "sha256"),
    ("PUT", f"/artifacts/{'0' * 64}?size=1", b"xx", 400, "more than the 1 bytes"),
    ("PUT", f"/artifacts/{'0' * 64}?size=9&offset=5", b"xx", 409, ""),
    ("GET", f"/artifacts/{'0' * 64}", b"", 404, "no artifact"),
    ("POST", "/discovered/52:54:00:00:00:09/adopt", b'{"name": "x"}', 404, "was discovered"),
    ("POST", "/discovered/zz/adopt", b'{"name": "x"}', 400, "not a MAC"),
    ("PATCH", "/status", b"", 405, "use GET"),
    ("GET", "/nothing", b"", 404, "there is no"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"), BAD, ids=[f"{r[0]} {r[1]} {r[4]}" for r in BAD]
)
def test_bad_requests_are_problems_and_change_nothing(
    admin: Admin, method: str, path: str, body: bytes, status: int, words: str
) -> None:
    before = admin.call("GET", "/status")["revision"]
    code, answer = admin.raw(method, "/api/v1" + path, body or None)
    document = json.loads(answer)
    assert (code, document["status"]) == (status, status)
    assert document["type"].startswith("urn:bootserve:problem:")
    assert words in document["detail"]
    assert admin.call("GET", "/status")["revision"] == before


def test_a_manifest_whose_artifacts_are_not_there_is_not_registered(admin: Admin) -> None:
    with pytest.raises(Problem, match="has not been uploaded") as refused:
        admin.register(manifest("web"))
    assert refused.value.status == 409
    assert admin.call("GET", "/generations")["generations"] == []


def test_an_upload_goes_on_where_it_broke_off(admin: Admin) -> None:
    data = b"0123456789" * 1000
    digest = hashlib.sha256(data).hexdigest()
    status, _ = admin.raw("PUT", f"/api/v1/artifacts/{digest}?size=10000", data[:4000])
    assert status == 200
    assert admin.call("GET", f"/uploads/{digest}") == {"offset": 4000, "complete": False}
    rest = f"/api/v1/artifacts/{digest}?size=10000&offset=4000"
    status, answer = admin.raw("PUT", rest, data[4000:])
    assert (status, json.loads(answer)) == (200, {"offset": 10_000, "complete": True})
    assert admin.raw("GET", f"/api/v1/artifacts/{digest}") == (200, data)


def test_a_stale_base_is_a_conflict(admin: Admin) -> None:
    number = admin.call("GET", "/status")["revision"]["number"]
    stale = {"If-Match": f'"{number}"'}
    path, body = "/api/v1/racks/r2", b'{"kernel_args": "a", "message": "first"}'
    assert admin.raw("PUT", path, body, **stale)[0] == 200
    status, answer = admin.raw("PUT", path, b'{"kernel_args": "b"}', **stale)
    document = json.loads(answer)
    assert (status, document["type"]) == (412, "urn:bootserve:problem:precondition-failed")
    assert document["detail"] == f"the current revision is {number + 1}, not {number}"
    [change] = document["changes"]
    assert (change["number"], change["message"]) == (number + 1, "first")


def test_the_openapi_document_lists_every_route_with_its_schemas(admin: Admin) -> None:
    document = admin.call("GET", "/openapi.json")
    assert document["openapi"].startswith("3.")
    text = json.dumps(document)
    references = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert references <= set(document["components"]["schemas"])
    operations = {(method, path) for path, item in document["paths"].items() for method in item}
    assert len(operations) > 30
    ids = [op["operationId"] for item in document["paths"].values() for op in item.values()]
    assert len(ids) == len(set(ids))
    for method, path in operations:
        filled = re.sub(r"\{\w+\}", "x", path)
        status, _ = admin.raw(method.upper(), filled, b"{" if method in ("put", "post") else None)
        assert status != 405, (method, path)


def test_metrics_count(admin: Admin) -> None:
    status, body = admin.raw("GET", "/metrics")
    assert status == 200
    revision = admin.call("GET", "/status")["revision"]["number"]
    assert f"bootserve_revision {float(revision)}".encode() in body
    assert b"bootserve_journal_lost_total 0.0" in body
