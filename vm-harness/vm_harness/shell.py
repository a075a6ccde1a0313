"""Commands in a root shell on a serial console."""

from __future__ import annotations

import base64
import re
import secrets
import shlex

from vm_harness.console import Console
from vm_harness.errors import HarnessError

__all__ = ["LOGIN_TIMEOUT", "PROMPT", "run_in_shell", "wait_for_prompt"]

PROMPT = r"^(?:[\w.-]+@[\w.-]+:)?[^\s#]*# "
"""A root shell's prompt; a message of the kernel or a service may follow it on its line."""
LOGIN_TIMEOUT = 180.0


def wait_for_prompt(console: Console, timeout: float = LOGIN_TIMEOUT) -> None:
    """Wait for a root shell's prompt; raises ExpectError after ``timeout`` seconds."""
    console.expect(PROMPT, timeout)


def run_in_shell(console: Console, command: str, *, timeout: float, check: bool) -> str:
    """Run ``command`` in a subshell of the shell that waits on ``console``; return what it printed.

    Its stdin is empty, its stderr is part of what is returned. Lines that the kernel or a service
    writes to the console meanwhile are not: each line of the command's own bears a random mark.

    Raises HarnessError when the command fails and ``check`` is set, ExpectError when it does not
    end within ``timeout`` seconds.
    """
    mark = secrets.token_hex(4)
    # The quotes keep the echo of what is typed here from looking like what it prints.
    console.send(
        f"(eval {_quote(command)}; echo __e''nd_{mark} $?) </dev/null 2>&1"
        f" | sed -u 's/^/'{mark[:4]}''{mark[4:]}:/\n"
    )
    done = console.expect(re.compile(rf"{mark}:.*__end_{mark} (\d+)\n"), timeout)
    lines = console.text[: done.end()].split("\n")
    marked = [line.partition(f"{mark}:")[2] for line in lines if f"{mark}:" in line]
    said = "\n".join(marked).rpartition(f"__end_{mark}")[0].removesuffix("\n")
    if check and done[1] != "0":
        raise HarnessError(f"{console.name}: {command!r} failed with {done[1]}: {said.strip()}")
    return said


def _quote(command: str) -> str:
    """Return ``command`` as one shell word that survives being typed at an interactive shell."""
    if command.isascii() and command.isprintable():
        return shlex.quote(command)
    encoded = base64.b64encode(command.encode()).decode()  # a tab typed would ask for completion
    return f'"$(echo {encoded} | base64 -d)"'
