"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from vm_harness.net import list_namespaces

pytestmark = pytest.mark.vm

_TESTS = """
import pytest

def test_passes(lab, vm):
    node = vm("good", memory=64).start()
    node.expect("SeaBIOS", 20)
    print("LAB", lab.id)

def test_fails(lab, vm):
    assert lab.vms == []  # the first test's VM is gone
    node = vm("bad", memory=64).start()
    node.expect("Machine UUID", 20)
    raise AssertionError("on purpose")
"""


def _pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(_TESTS)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            "-rP",
            *words,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("words", [[], ["-n", "2"]], ids=["one process", "xdist"])
def test_vms_end_with_their_test_and_a_failure_shows_their_console(
    tmp_path: Path, words: list[str]
) -> None:
    done = _pytest(tmp_path, *words)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    report = done.stdout.partition("on purpose")[2]
    assert "console of bad (last 200 lines)" in report
    assert "SeaBIOS (version" in report
    assert "log of the DHCP server" in report
    assert "console of good" not in done.stdout
    lab_id = done.stdout.partition("LAB ")[2][:8]
    assert list_namespaces(f"vmh-{lab_id}") == []
