"""The bootserve process of a lab: the real one, started and ended in every way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from vm_harness.errors import HarnessError
from vm_harness.lab import Lab

pytestmark = pytest.mark.netns


def test_it_starts_answers_is_killed_and_starts_again(lab: Lab) -> None:
    server = lab.bootserve(env={"BOOTSERVE_ADMIN_PORT": "0"}, arguments=["--unknown", "hold"])
    server.start()
    first = server.process.pid
    assert server.running
    assert first in lab.network.server.pids()
    assert server.json("node", "list") is not None
    sockets = lab.network.server.run(["cat", "/proc/net/tcp"])
    assert ":1F90 " in sockets  # 8080
    assert ":1F91 " not in sockets  # 8081, which the environment turned off
    with pytest.raises(HarnessError, match="already"):
        server.start()

    server.kill()
    assert not server.running
    with pytest.raises(HarnessError, match="failed with 3"):
        server.cli("node", "list")
    server.start()
    assert server.process.pid != first
    assert server.terminate(timeout=10) == 0
    server.stop()


def test_one_that_does_not_start_says_why(lab: Lab) -> None:
    server = lab.bootserve(arguments=["--http-port", "70000"])
    with pytest.raises(HarnessError, match=r"(?s)bootserve ended with [12]:.*http.port"):
        server.start()


def test_one_that_is_never_ready_is_killed(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "mute"
    script.write_text(f"#!{sys.executable}\nimport time\nprint('thinking', flush=True)\n"
                      "time.sleep(600)\n")  # fmt: skip
    script.chmod(0o755)
    server = lab.bootserve(command=[str(script)])
    with pytest.raises(HarnessError, match=r"(?s)not ready in 1 s:.*thinking"):
        server.start(timeout=1)
    assert not server.running


def test_the_lab_ends_it_in_order() -> None:
    with Lab.create() as other:
        server = other.bootserve().start()
        before = server.process.pid
        server.restart()
        assert server.process.pid != before
    assert server.process.returncode == 0
