"""Runs commands: in this process for speed, as a program where that is the point."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bootserve.cli.main import main

__all__ = ["Cli", "Result", "run", "run_on_terminal", "run_program"]

PROGRAM = [sys.executable, "-m", "bootserve"]


@dataclass(frozen=True)
class Result:
    """What a command exited with and printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*words: str | Path) -> Result:
    """Run a command in this process; an exception that escapes it fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    assert "\x1b" not in out.getvalue() + err.getvalue(), "escape codes outside a terminal"
    assert "Traceback" not in err.getvalue()
    return Result(code, out.getvalue(), err.getvalue())


def run_program(*words: str | Path, within: Sequence[str] = (), **env: str) -> Result:
    """Run a command as a program of its own, by the command ``within`` if there is one."""
    done = subprocess.run(
        [*within, *PROGRAM, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
    )
    return Result(done.returncode, done.stdout, done.stderr)


def run_on_terminal(*words: str | Path, typed: str = "", until: str = "", **env: str) -> Result:
    """Run a command with a terminal of 80 columns as stdin, stdout and stderr.

    ``typed`` is typed once ``until`` has been printed.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=partial(fcntl.ioctl, theirs, termios.TIOCSCTTY, 0),
        env={**os.environ, "COLUMNS": "80", "TERM": "xterm", **env},
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed, which is the end
        while chunk := os.read(ours, 65536):
            said += chunk
            if typed and until.encode() in said:
                os.write(ours, typed.encode())
                typed = ""
    os.close(ours)
    return Result(process.wait(30), said.decode(), "")


class Cli:
    """Runs commands against the server of ``state_dir``."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir

    def __call__(self, *words: str | Path, code: int = 0) -> Result:
        """Run a command; it must exit with ``code``."""
        result = run("--state-dir", self.state_dir, *words)
        assert result.code == code, (words, result)
        return result

    def json(self, *words: str | Path, code: int = 0) -> Any:
        """Run a command with ``--json`` and return what it printed."""
        return self(*words, "--json", code=code).json
