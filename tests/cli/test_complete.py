"""Completion in the shell: the script, and names from the running server."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cli.runner import PROGRAM, Cli, run, run_program
from tests.support.api import Admin


@pytest.fixture(scope="module", autouse=True)
def names(cli: Cli, admin: Admin) -> None:
    admin.publish("web", "1")
    admin.publish("web", "2")
    cli("role", "set", "compute", "--image", "db")
    for last, name in enumerate(("n1", "n2", "other")):
        mac = f"52540000000{last}"
        cli("node", "add", name, "--mac", mac, "--rack", f"r{last}", "--role", "compute")


def completed(line: str, state_dir: Path) -> list[str]:
    """Return what bash is offered at the end of ``line``; nothing else may be printed."""
    asked = {
        "_BOOTSERVE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "BOOTSERVE_STATE_DIR": str(state_dir),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in asked.items():
            patch.setenv(name, value)
        result = run()
    assert (result.code, result.err) == (0, "")
    return result.out.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("bootserve node sh", ["show"]),
        ("bootserve node show ", ["n1", "n2", "other"]),
        ("bootserve node show n", ["n1", "n2"]),
        ("bootserve explain o", ["other"]),
        ("bootserve probe --firmware u", ["uefi", "uefi-arm64"]),
        ("bootserve role rm ", ["compute"]),
        ("bootserve node list --rack ", ["r0", "r1", "r2"]),
        ("bootserve pin ", ["node/", "rack/", "role/", "site"]),
        ("bootserve pin node/o", ["node/other"]),
        ("bootserve pin rack/", ["rack/r0", "rack/r1", "rack/r2"]),
        ("bootserve pin attic/", []),
        ("bootserve pin site ", ["web@1", "web@2"]),
        ("bootserve image list ", ["db", "web"]),
        ("bootserve node add x --arch a", ["amd64", "arm64"]),
        ("bootserve serve --unknown ", ["hold", "ignore", "register"]),
    ],
)
def test_names_are_offered(cli: Cli, line: str, offered: list[str]) -> None:
    assert sorted(completed(line, cli.state_dir)) == offered


def test_the_options_on_the_line_are_heeded(cli: Cli, tmp_path: Path) -> None:
    elsewhere = f"bootserve --state-dir {cli.state_dir} node show n"
    assert completed(elsewhere, tmp_path) == ["n1", "n2"]
    inside = f"bootserve node show --state-dir {tmp_path} n"
    assert completed(inside, cli.state_dir) == []


def test_silent_when_the_server_is_away_or_the_settings_are_wrong(tmp_path: Path) -> None:
    assert completed("bootserve node show ", tmp_path) == []
    assert completed(f"bootserve --config {tmp_path}/no.toml node show ", tmp_path) == []
    assert completed("bootserve --url nonsense node show ", tmp_path) == []


@pytest.mark.parametrize(
    ("shell", "check"),
    [("bash", "complete -o"), ("zsh", "#compdef bootserve"), ("fish", "complete")],
)
def test_the_completion_script(shell: str, check: str) -> None:
    script = run_program(_BOOTSERVE_COMPLETE=f"source_{shell}").out
    assert check in script
    assert "_BOOTSERVE_COMPLETE=complete_" in script


def test_bash_completes_by_the_script(cli: Cli, tmp_path: Path) -> None:
    beside = tmp_path / "bootserve"
    beside.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    beside.chmod(0o755)
    (tmp_path / "rc").write_text(run_program(_BOOTSERVE_COMPLETE="source_bash").out)
    shell = (
        f". {tmp_path}/rc; COMP_WORDS=(bootserve node show n); COMP_CWORD=3;"
        ' _bootserve_completion bootserve; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "--norc", "-c", shell],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": path, "BOOTSERVE_STATE_DIR": str(cli.state_dir)},
    )
    assert done.stdout.split() == ["n1", "n2"]
