"""What an import left behind that nothing registered goes, and what is needed stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.service.conftest import Servers
from tests.support.api import Admin


def stored(folder: Path) -> set[str]:
    return {path.name for path in (folder / "artifacts").rglob("*") if path.is_file()}


def test_leftovers_of_yesterdays_imports_are_gone_after_a_start(servers: Servers) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    name = admin.publish("web", "1")
    needed = stored(server.state_dir)
    admin.upload(b"the kernel of an import that nobody ended")
    status, _ = admin.raw("PUT", f"/api/v1/artifacts/{'a' * 64}?size=99", b"its root broke off")
    assert status == 200
    server.terminate()
    left = stored(server.state_dir) - needed
    assert len(left) == 2
    for file in (server.state_dir / "artifacts").rglob("*"):
        os.utime(file, (time.time() - 25 * 3600,) * 2)
    server.start()
    deadline = time.monotonic() + 60
    while stored(server.state_dir) & left:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert stored(server.state_dir) == needed
    assert admin.call("POST", f"/generations/{name}/verify")["intact"]
    dropped = [line for line in server.log_text().splitlines() if "dropped" in line]
    assert all(any(digest in line for line in dropped) for digest in left)
