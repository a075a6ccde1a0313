"""The whole command: its help, its exit codes, and that bad input never ends in a traceback."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from bootserve import __version__
from bootserve.cli.app import make_app
from tests.cli.runner import PROGRAM, run, run_on_terminal, run_program


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        yield from walk(one, (*path, name))


INTERRUPTED = b"bootserve: interrupted\n"
COMMANDS = dict(walk(get_command(make_app())))
LEAVES = {path: one for path, one in COMMANDS.items() if not hasattr(one, "commands")}


def words_of(text: str) -> str:
    """Return ``text`` without the frame and the line breaks of a help page."""
    return re.sub(r"[│\s]+", " ", text)


def test_all_the_commands_are_there() -> None:
    assert {" ".join(path) for path in LEAVES} == {
        "serve",
        "config show",
        *(f"node {one}" for one in ("add", "set", "list", "show", "rm")),
        *(f"node {one}" for one in ("discovered", "adopt", "forget", "boot-once", "release")),
        *(f"role {one}" for one in ("set", "list", "rm")),
        *(f"rack {one}" for one in ("set", "list")),
        *(f"image {one}" for one in ("build", "import", "list", "show")),
        *(f"image {one}" for one in ("verify", "export", "revoke", "unrevoke", "rm")),
        *(f"nbp {one}" for one in ("add", "list", "rm", "pin", "unpin")),
        *("pin", "unpin", "pins", "rollback", "revisions"),
        *(f"rollout {one}" for one in ("start", "status", "nodes", "list")),
        *(f"rollout {one}" for one in ("pause", "resume", "retry", "abort")),
        *("plan", "apply", "export", "schema site", "would-change", "image diff"),
        *(f"import {one}" for one in ("ethers", "dnsmasq", "netbox", "warewulf")),
        *("status", "boots", "explain", "scrub", "reload", "drift", "probe", "doctor"),
        *("reboot", "reboots", "hooks list", "hooks test"),
        *(f"token {one}" for one in ("create", "list", "revoke")),
        *(f"access {one}" for one in ("grant", "revoke", "list")),
        *("whoami", "as-of", *(f"audit {one}" for one in ("verify", "export", "key", "head"))),
        *("login", "logout"),
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_option_has_help(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help, f"{path} has no help"
    page = words_of(run(*path, "--help").out)
    assert words_of(command.help.replace("\n\n", " ")) in page
    for param in command.params:
        assert param.help, f"{path}: {param.name} has no help"
        assert len(param.help) > 8, f"{path}: {param.name} is hardly described"
        assert param.help.endswith("."), f"{path}: {param.name}: a sentence"
        first_words = " ".join(param.help.split()[:2])
        assert first_words in page, f"{path}: {param.name} is not on the help page"


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_teaches_by_an_example_that_parses(path: tuple[str, ...]) -> None:
    command = LEAVES[path]
    title, *examples = command.epilog.split("\n\n")
    assert title == ("Example:" if len(examples) == 1 else "Examples:")
    for example in examples:
        text = re.sub(r"^\[bold\](.*)\[/bold\]$", r"\1", example)
        words = [word for word in shlex.split(text) if not word.startswith("BOOTSERVE_")]
        assert words[: len(path) + 1] == ["bootserve", *path], f"{text} is another command"
        command.make_context("bootserve", words[len(path) + 1 :])


def test_help_says_what_the_exit_codes_are() -> None:
    page = words_of(run("--help").out)
    assert "Exit codes: 0 done; 1 refused, failed, or a check that did not pass; 2 the command" in (
        page
    )
    assert "3 the server cannot be reached; 130 interrupted" in page


def test_help_in_a_pipe_has_no_escape_codes() -> None:
    assert "\x1b" not in run_program("node", "add", "--help").out
    assert "\x1b" in run_on_terminal("node", "add", "--help").out


def test_version() -> None:
    assert run("--version").out == f"bootserve {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["node"],
        ["node", "add"],
        ["node", "add", "n1"],
        ["node", "add", "n1", "--mac", "52:54:00:00:00:01", "--label", "novalue"],
        ["node", "add", "n1", "--mac", "52:54:00:00:00:01", "--arch", "vax"],
        ["node", "set", "n1"],
        ["role", "set", "compute"],
        ["rack", "set", "r1"],
        ["pin", "site", "web@1"],
        ["pin", "site", "web@1", "-m", "  "],
        ["unpin", "site"],
        ["rollback", "x", "-m", "y"],
        ["rollback", "1"],
        ["boots", "--limit", "0"],
        ["image", "import"],
        ["image", "import", "b", "--name", "x"],
        ["image", "import", "--name", "x", "--kernel", "k"],
        ["image", "import", "--name", "x", "--kernel", "k", "--root-tar", "t"],
        ["serve", "--http-port", "70000"],
        ["serve", "--unknown", "welcome"],
        ["--no-such-option"],
    ],
)
def test_a_wrong_command_line_exits_with_2(words: list[str], tmp_path: Path) -> None:
    result = run("--state-dir", tmp_path, *words)
    assert result.code == 2
    assert result.out == "" or "Usage" in result.out
    assert "Usage: bootserve" in result.out + result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pin", "floor/3", "web@1", "-m", "x"], "'floor/3' is not a scope"),
        (["pin", "site", "web", "-m", "x"], "'web' does not name a generation"),
        (["image", "show", "web@0"], "'web@0' does not name a generation"),
        (["node", "adopt", "nonsense", "n1"], "'nonsense' is not a MAC address"),
        (["node", "show", ".."], "'..' is not a name"),
        (["image", "import", "nowhere"], "nowhere is no bundle"),
        (["image", "build", "nowhere"], "nowhere holds no image.toml"),
        (["--config", "nowhere.toml", "status"], "cannot read nowhere.toml"),
        (["--url", "ftp://x", "status"], "'ftp://x' is not a URL"),
        (
            ["--url", "http://127.0.0.1:1", "--token-file", "no", "status"],
            "cannot read the admin token",
        ),
        (["node", "show", "\udcff"], "an argument is not valid UTF-8"),
        (["node", "rm", "n1", "-m", "\udcff"], "an argument is not valid UTF-8"),
        (["rack", "set", "r", "--kernel-args", "\udcff"], "an argument is not valid UTF-8"),
    ],
)
def test_bad_input_is_said_in_a_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = run("--state-dir", tmp_path, *words)
    assert (result.code, result.out) == (1, "")
    errors = [line for line in result.err.splitlines() if line.startswith("bootserve: ")]
    assert len(errors) == 1
    assert said in errors[0]


def test_a_setting_that_is_wrong_is_named_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOTSERVE_HTTP_PORT", "many")
    result = run("status")
    assert result.code == 1
    assert "http_port (BOOTSERVE_HTTP_PORT)" in result.err
    monkeypatch.delenv("BOOTSERVE_HTTP_PORT")
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"a = \xff")
    assert f"{broken} is not TOML" in run("--config", broken, "status").err


def test_python_m_bootserve_and_an_encoding_without_the_characters() -> None:
    result = run_program("node", "--help", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert result.code == 0
    assert "bootserve node" in result.out


@pytest.mark.parametrize("words", [["config", "show"], ["config", "show", "--json"], ["--version"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_traceback(words: list[str], unbuffered: str) -> None:
    with subprocess.Popen(
        [*PROGRAM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(30) == 1
    assert said == b""


INTERRUPTED_LOADING = """\
import importlib.abc, signal, sys
from bootserve.cli.main import main

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.exit(main(["config", "show"]))
"""


def test_ctrl_c_while_loading() -> None:
    done = subprocess.run([PROGRAM[0], "-c", INTERRUPTED_LOADING], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", INTERRUPTED)


def test_ctrl_c_while_waiting_for_the_server(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "admin.sock"))
        silent.listen()
        process = subprocess.Popen(
            [*PROGRAM, "--state-dir", str(tmp_path), "scrub"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        asked, _ = silent.accept()
        with asked:
            assert asked.recv(1000).startswith(b"POST /api/v1/scrub")
            deadline = time.monotonic() + 60
            # until it sleeps: it has asked, so the answer is what it waits for
            while Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0] != "S":
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", INTERRUPTED)


@pytest.mark.parametrize("words", [["config", "show"], ["config", "show", "--json"], ["--version"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_no_traceback(words: list[str], unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            env=environment,
        )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"No space left on device" in done.stderr
