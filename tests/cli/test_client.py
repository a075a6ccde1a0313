"""Servers that are away, refuse, break off or are something else."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from vm_harness.lab import Lab
from vm_harness.server import BootServer

from bootserve.cli.client import segment
from bootserve.errors import InvalidInput
from tests.cli.runner import Cli, run, run_program


@contextmanager
def answering(directory: Path, *answers: bytes) -> Iterator[Path]:
    """Yield a state directory whose admin socket gives ``answers`` in turn and hangs up."""

    def serve(listener: socket.socket) -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "admin.sock"))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield directory
        thread.join(10)
        assert not thread.is_alive(), "fewer requests came than there are answers"


def http(status: str, body: bytes, kind: str = "application/json", length: int = -1) -> bytes:
    size = len(body) if length < 0 else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


def test_no_server(tmp_path: Path) -> None:
    result = run("--state-dir", tmp_path, "status")
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        f"bootserve: no server is running with this state directory: there is no"
        f" {tmp_path}/admin.sock\n"
        "Start 'bootserve serve', or name its directory with --state-dir.\n"
    )


def test_the_socket_of_a_server_that_was_killed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "admin.sock"))
    result = run("--state-dir", tmp_path, "status")
    assert result.code == 3
    assert "is no longer running" in result.err


def test_a_user_who_may_not(tmp_path: Path) -> None:
    # The temporary directory of the tests is root's alone: another user cannot look into it.
    os.seteuid(65534)
    try:
        result = run("--state-dir", tmp_path, "status")
    finally:
        os.seteuid(0)
    assert result.code == 3
    assert f"this user may not open the admin socket {tmp_path}/admin.sock" in result.err
    assert "sudo" in result.err


@pytest.mark.parametrize("name", ["x" * 120, "file/below"])
def test_a_state_directory_that_cannot_be_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    result = run("--state-dir", tmp_path / name, "status")
    assert result.code == 3
    assert "--state-dir" in result.err


@pytest.mark.parametrize(
    "answer",
    [
        http("200 OK", b"<html>nginx</html>", "text/html"),
        http("200 OK", b'{"version": 1}'),
        http("200 OK", b"[" * 100_000),
        http("404 Not Found", b"<html>no</html>", "text/html"),
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        http("400 Bad Request", b'["detail"]'),
    ],
)
def test_what_is_no_bootserve(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer) as state_dir:
        result = run("--state-dir", state_dir, "status")
    assert (result.code, result.out) == (3, "")
    assert "is not a bootserve of this version" in result.err


@pytest.mark.parametrize(
    "answers",
    [
        [b"", b""],  # a GET is tried once more
        [http("200 OK", b'{"ver', length=500)],
        [b"SSH-2.0-x\r\n"],
    ],
)
def test_a_connection_that_breaks_off(tmp_path: Path, answers: list[bytes]) -> None:
    with answering(tmp_path, *answers) as state_dir:
        result = run("--state-dir", state_dir, "status")
    assert (result.code, result.out) == (3, "")
    assert "broke the connection off" in result.err
    assert "bootserve revisions" in result.err


def test_a_server_that_fails(tmp_path: Path) -> None:
    with answering(tmp_path, http("500 Internal Server Error", b"boom", "text/plain")) as state_dir:
        result = run("--state-dir", state_dir, "status")
    assert (result.code, result.out) == (1, "")
    assert result.err == "bootserve: the server failed with HTTP status 500\nIts log says why.\n"


def test_a_refusal_is_told_in_the_servers_words_without_its_escapes(tmp_path: Path) -> None:
    problem = b'{"detail": "no \\u001b[2J", "hint": "try \\u009b"}'
    with answering(tmp_path, http("409 Conflict", problem)) as state_dir:
        result = run("--state-dir", state_dir, "status")
    assert (result.code, result.out) == (1, "")
    assert result.err == "bootserve: no \\x1b[2J\ntry \\x9b\n"


def test_segments_of_a_path() -> None:
    assert segment("n1") == "n1"
    assert segment("web@7") == "web@7"
    assert segment("a/b?c#d%e ä") == "a%2Fb%3Fc%23d%25e%20%C3%A4"
    for bad in ("", ".", "..", "\udc80"):
        with pytest.raises(InvalidInput):
            segment(bad)


def test_over_tcp_with_the_token(lab: Lab, server: BootServer, tmp_path: Path) -> None:
    inside = in_namespace(lab)
    state_dir = ("--state-dir", str(server.state_dir))
    url = ("--url", "http://127.0.0.1:8081")
    answer = inside(*state_dir, *url, "status", "--json")
    assert answer.startswith("{")
    token = tmp_path / "token"
    token.write_text((server.state_dir / "admin.token").read_text())
    assert "ready" in inside("status", *url, "--token-file", str(token))
    assert "ready" in inside("status", *state_dir, "--token-file", str(token))
    token.write_text("0" * 64)
    refused = inside(*url, "--token-file", str(token), "status", code=1)
    assert "this token is not valid" in refused
    token.write_bytes(b"\xff\xfe")
    assert "holds no admin token" in inside(*url, "--token-file", str(token), "status", code=1)
    away = inside(*state_dir, "--url", "http://127.0.0.1:9", "status", code=3)
    assert "nothing answers at http://127.0.0.1:9: Connection refused" in away


def in_namespace(lab: Lab) -> Callable[..., str]:
    prefix = lab.network.server.command([])

    def inside(*words: str, code: int = 0) -> str:
        result = run_program(*words, within=prefix)
        assert result.code == code, result
        return result.out + result.err

    return inside


def test_a_subject_of_its_own(cli: Cli) -> None:
    cli("role", "set", "compute", "--image", "web")
    assert cli.json("revisions", "--limit", "1")["revisions"][0]["author"] == "root"
