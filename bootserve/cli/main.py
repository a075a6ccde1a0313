"""The ``bootserve`` command: what each kind of failure is said and exits with."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in ``arguments``, by default the process', and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A name the terminal's encoding cannot show must not end the command half-way.
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="backslashreplace")
    try:
        # Loading takes a good part of a short command's time, and Ctrl-C may fall into it.
        from bootserve.cli.app import run

        code = run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = 1
        _discard_stdout()
    except OSError as error:
        code = 1
        words = os.strerror(error.errno) if error.errno else str(error)
        print(f"bootserve: {error.filename or 'output'}: {words}", file=sys.stderr)
        if error.errno == errno.ENOSPC:
            _discard_stdout()
    if code == INTERRUPTED:
        print("bootserve: interrupted", file=sys.stderr)
    return code


def _discard_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
