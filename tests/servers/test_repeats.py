"""Idempotency-Key and If-Match: what was asked twice is done once, also after a crash."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from tests.support.api import Admin


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hook ``slow`` writes a line to whenever it is called."""
    file = tmp_path_factory.mktemp("hook") / "calls"
    file.touch()
    file.chmod(0o666)  # the server is not root
    return file


@pytest.fixture(scope="module")
def server(lab: Lab, calls: Path) -> BootServer:
    run = ["/bin/sh", "-c", f"echo called >>{calls}; exec sleep 300"]
    config = calls.with_name("bootserve.toml")
    config.write_text(f"[[hooks]]\nname = 'slow'\nwhen = 'before'\nrun = {json.dumps(run)}\n")
    return lab.bootserve(arguments=["--config", str(config)]).start()


def put(admin: Admin, path: str, key: str, **body: Any) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    status, answer = admin.raw("PUT", "/api/v1" + path, data, **{"Idempotency-Key": key})
    return status, json.loads(answer)


def revision(admin: Admin) -> int:
    return int(admin.call("GET", "/status")["revision"]["number"])


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


def test_a_repeat_gets_the_same_answer_and_makes_no_revision(admin: Admin, key: str) -> None:
    first = put(admin, "/racks/r1", key, kernel_args="quiet")
    number = revision(admin)
    assert first[0] == 200
    assert first[1]["revision"]["number"] == number
    admin.call("PUT", "/racks/r2", kernel_args="later")
    assert put(admin, "/racks/r1", key, kernel_args="quiet") == first
    assert revision(admin) == number + 1


def test_a_repeat_after_a_crash_gets_the_same_answer(
    admin: Admin, server: BootServer, key: str
) -> None:
    first = put(admin, "/racks/r1", key, kernel_args="a")
    server.kill()
    server.start()
    assert put(admin, "/racks/r1", key, kernel_args="a") == first
    assert revision(admin) == first[1]["revision"]["number"]


def test_what_a_crash_ended_is_not_known_and_not_done_again(
    admin: Admin, server: BootServer, calls: Path, key: str
) -> None:
    admin.call("POST", "/nodes", name="tried", macs=["52:54:00:00:07:01"])

    def ask() -> tuple[int, bytes]:
        body = b'{"node": "tried"}'
        return admin.raw("POST", "/api/v1/hooks/slow/test", body, **{"Idempotency-Key": key})

    def ask_in_vain() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask()

    asking = threading.Thread(target=ask_in_vain)
    asking.start()
    deadline = time.monotonic() + 60
    while not calls.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    server.kill()
    asking.join()
    server.start()
    for _ in range(2):
        status, answer = ask()
        assert (status, json.loads(answer)["type"][-15:]) == (409, "outcome-unknown")
    assert calls.read_text() == "called\n"


def test_a_key_belongs_to_one_request(admin: Admin, key: str) -> None:
    assert put(admin, "/racks/r1", key, kernel_args="b")[0] == 200
    number = revision(admin)
    for path, args in (("/racks/r1", "c"), ("/racks/r2", "b")):
        status, problem = put(admin, path, key, kernel_args=args)
        assert (status, problem["type"]) == (422, "urn:bootserve:problem:idempotency-key-reused")
    assert revision(admin) == number


def test_requests_at_one_moment_under_one_key_are_one(admin: Admin, key: str) -> None:
    number, answers = revision(admin), []

    def ask() -> None:
        answers.append(put(admin, "/racks/r3", key, kernel_args="together"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert {json.dumps(one) for one in answers} == {json.dumps(answers[0])}
    assert revision(admin) == number + 1


def test_what_was_refused_may_be_asked_again(admin: Admin, key: str) -> None:
    body = {"scope": "node/n1", "generation": "web@1"}
    assert put(admin, "/pins", key, **body)[0] == 404
    assert put(admin, "/pins", key, **body)[0] == 404


@pytest.mark.parametrize("bad", ["", "x" * 201, "a\tb"])
def test_a_bad_key_is_refused(admin: Admin, bad: str) -> None:
    assert put(admin, "/racks/r1", bad, kernel_args="")[0] == 400


@pytest.mark.parametrize("etag", ['"x"', "W/", '"-1"', "1, 2"])
def test_a_bad_if_match_is_refused(admin: Admin, etag: str) -> None:
    status, answer = admin.raw(
        "PUT", "/api/v1/racks/r1", b'{"kernel_args": ""}', **{"If-Match": etag}
    )
    assert (status, "If-Match" in json.loads(answer)["detail"]) == (400, True)


def test_if_match_holds_for_every_write(admin: Admin) -> None:
    admin.call("PUT", "/racks/r1", kernel_args="now")
    stale = {"If-Match": f'"{revision(admin) - 1}"'}
    assert admin.raw("POST", "/api/v1/scrub", None, **stale)[0] == 412
    assert (
        admin.raw("POST", "/api/v1/scrub", None, **{"If-Match": f'"{revision(admin)}"'})[0] == 200
    )
    assert admin.raw("POST", "/api/v1/scrub", None, **{"If-Match": "*"})[0] == 200
