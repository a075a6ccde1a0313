"""Tokens and bindings by the command line, local users, and failed logins."""

from __future__ import annotations

import json
import os
import sqlite3
import time

import pytest
from vm_harness.server import BootServer

from bootserve.servers.admin.accessbook import hash_token, new_token, token_name
from tests.cli.runner import Cli, run_program
from tests.support.api import Admin
from tests.support.curl import curl

TCP = "http://127.0.0.1:8081"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_is_shown_once_and_kept_as_a_hash(
    cli: Cli, admin: Admin, server: BootServer
) -> None:
    made = cli("token", "create", "ci", "--role", "operator", "--scope", "rack:r1")
    secret = made.out.strip()
    assert token_name(secret) == "ci"
    assert "operator rack/r1" in made.err
    with sqlite3.connect(server.state_dir / "bootserve.db") as database:
        dump = "\n".join(database.iterdump())
    assert secret not in dump
    assert secret.rpartition(".")[2] not in dump
    assert hash_token(secret) in dump
    assert secret not in server.log_text()
    _, answer = admin.raw("GET", "/api/v1/whoami", None, **bearer(secret))
    assert json.loads(answer)["subject"] == "token:ci"
    [shown] = [one for one in cli.json("token", "list")["tokens"] if one["name"] == "ci"]
    assert shown["created_by"] == "root"
    assert shown["used_at"] >= shown["created_at"]
    assert cli("token", "create", "ci", "--role", "viewer", "--scope", "site", code=1).err


def test_a_revoked_token_is_worthless_at_once_and_after_a_restart(
    cli: Cli, admin: Admin, server: BootServer
) -> None:
    secret = cli("token", "create", "old", "--role", "admin", "--scope", "site").out.strip()
    assert admin.raw("GET", "/api/v1/status", None, **bearer(secret))[0] == 200
    assert "revoked" in cli("token", "revoke", "old").out
    for _ in range(2):
        status, answer = admin.raw("GET", "/api/v1/status", None, **bearer(secret))
        assert (status, json.loads(answer)["detail"]) == (401, "token old was revoked")
        server.kill()
        server.start()
    assert cli("token", "revoke", "nobody", code=1).err


def test_a_token_expires(cli: Cli, admin: Admin) -> None:
    soon = time.time() + 1.5
    made = admin.call(
        "POST", "/tokens", name="brief", role="viewer", scopes=["site"], expires_at=soon
    )
    deadline = time.monotonic() + 60
    while admin.raw("GET", "/api/v1/status", None, **bearer(made["secret"]))[0] == 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert time.time() >= soon
    assert "expired" in cli("token", "list").out


def test_a_repeated_creation_does_not_show_the_token_again(admin: Admin) -> None:
    body = json.dumps({"name": "once", "role": "viewer", "scopes": ["site"]}).encode()
    key = {"Idempotency-Key": "make-once"}
    assert admin.raw("POST", "/api/v1/tokens", body, **key)[0] == 201
    status, answer = admin.raw("POST", "/api/v1/tokens", body, **key)
    assert (status, "shown once" in json.loads(answer)["detail"]) == (409, True)


def test_a_rack_admin_gives_no_more_than_it_has(cli: Cli, admin: Admin) -> None:
    secret = cli("token", "create", "boss", "--role", "admin", "--scope", "rack/r1").out.strip()

    def ask(scope: str) -> int:
        body = json.dumps({"name": f"x-{scope[-2:]}", "role": "admin", "scopes": [scope]})
        return admin.raw("POST", "/api/v1/tokens", body.encode(), **bearer(secret))[0]

    assert [ask(scope) for scope in ("rack/r1", "rack/r2", "site")] == [201, 403, 403]
    _, answer = admin.raw("GET", "/api/v1/tokens", None, **bearer(secret))
    assert [one["name"] for one in json.loads(answer)["tokens"]] == ["boss", "ci", "x-r1"]


def test_a_local_user_may_what_it_was_granted(cli: Cli, server: BootServer) -> None:
    for folder in (server.state_dir, *server.state_dir.parents):
        if folder.stat().st_mode & 0o055 != 0o055:
            os.chmod(folder, folder.stat().st_mode | 0o055)
    as_user = ("setpriv", "--reuid=54321", "--regid=0", "--clear-groups")
    words = ("--state-dir", server.state_dir, "whoami", "--json")

    def whoami() -> tuple[int, str]:
        result = run_program(*words, within=as_user)
        return result.code, result.out + result.err

    code, said = whoami()
    assert (code, "bootserve access grant uid:54321" in said) == (1, True)
    assert "operator of rack/r1" in cli("access", "grant", "uid:54321", "operator", "rack:r1").out
    code, said = whoami()
    assert json.loads(said) == {
        "subject": "uid:54321",
        "bindings": [{"role": "operator", "scope": "rack/r1"}],
    }
    assert "nothing" in cli("access", "revoke", "uid:54321", "rack/r1").out
    assert whoami()[0] == 1


@pytest.mark.parametrize("subject", ["anna", "uid:x", "user:", "token:nobody"])
def test_what_is_no_subject_is_refused(cli: Cli, subject: str) -> None:
    assert cli("access", "grant", subject, "viewer", "site", code=1).err


def test_failed_logins_are_limited_logged_and_recorded(
    admin: Admin, server: BootServer, cli: Cli
) -> None:
    wrong = ("-H", f"Authorization: Bearer {new_token('ci')}")
    statuses = [
        curl(server.namespace, "/api/v1/status", *wrong, base=TCP).status for _ in range(12)
    ]
    assert statuses[:10] == [401] * 10
    last = curl(server.namespace, "/api/v1/status", *wrong, base=TCP)
    assert last.status == 429
    assert 0 < int(last.headers["retry-after"]) <= 7
    assert json.loads(last.body)["type"] == "urn:bootserve:problem:too-many-failures"
    assert "login failed" in server.log_text()
    assert admin.call("GET", "/status")["ready"], "others are not kept out"
    good = ("-H", f"Authorization: Bearer {(server.state_dir / 'admin.token').read_text().strip()}")
    assert curl(server.namespace, "/api/v1/status", *good, base=TCP).status == 200
    with sqlite3.connect(server.state_dir / "bootserve.db") as database:
        found = database.execute("SELECT record FROM audit WHERE kind = 'access'").fetchall()
    assert sum("login refused" in row[0] and "127.0.0.1" in row[0] for row in found) == 1
