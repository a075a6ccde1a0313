"""The server that has the state directory, if one does, and what it says of itself."""

from __future__ import annotations

import fcntl
import http.client
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from bootserve.model.finding import Finding
from bootserve.servers.admin.routing import PREFIX
from bootserve.servers.admin.schemas_seen import StatusOut
from bootserve.service.doctor.checkup import Checkup, Server, error, ok, warning

__all__ = ["check_server", "find_server"]

SECONDS = 20.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("bootserve", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


def find_server(state_dir: Path) -> Server:
    """Return the server that holds the lock of ``state_dir``, and its status if it tells it."""
    pid = _holder(state_dir / "lock")
    if not pid:
        return Server(pid)
    try:
        code, body = _get(state_dir / "admin.sock", PREFIX + "/status")
        status = StatusOut.model_validate_json(body) if code == 200 else None
    except (OSError, http.client.HTTPException, ValidationError):
        status = None
    return Server(pid, status)


def _holder(lock: Path) -> int | None:
    """Return the pid that holds the lock, 0 for nobody, None when this user cannot see it."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(fd)
    return 0


def _get(path: Path, url: str) -> tuple[int, bytes]:
    connection = _UnixConnection(path)
    try:
        connection.request("GET", url)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def check_server(checkup: Checkup) -> Iterator[Finding]:
    """Ask the running server whether it is ready, and pass on what it says is wrong."""
    server = checkup.server
    if server.pid is None:
        found = f"this user cannot see whether a server runs on {checkup.state_dir}"
        yield warning("server", found, "Run this as root, or as the server's user.")
        return
    if not server.pid:
        yield ok("server", f"none runs on {checkup.state_dir}; the ports are judged for a start")
        return
    try:
        code, body = _get(checkup.state_dir / "admin.sock", "/readyz")
    except (OSError, http.client.HTTPException) as failed:
        found = f"pid {server.pid} runs and does not answer on its admin socket: {failed}"
        yield error("server", found, "Wait if it has just been started; else see its log.")
        return
    if code == 200:
        version = f" {server.status.version}" if server.status else ""
        yield ok("server", f"pid {server.pid} runs bootserve{version} and is ready")
    for problem in body.decode("utf-8", "replace").splitlines() if code != 200 else ():
        yield error(
            "server", f"pid {server.pid} is not ready: {problem}", "See 'bootserve status'."
        )
