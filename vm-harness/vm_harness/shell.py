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
LOGIN_TIMEOUT = 90.0


def wait_for_prompt(console: Console, timeout: float = LOGIN_TIMEOUT) -> None:
    """Wait for a root shell's prompt; raises ExpectError after ``timeout`` seconds."""
    console.expect(PROMPT, timeout)


def run_in_shell(console: Console, command: str, *, timeout: float, check: bool) -> str:
    """Run ``command`` in the shell that waits on ``console`` and return what it printed.

    Its stdin is empty. Kernel messages that reach the console meanwhile are part of what is
    returned.

    Raises HarnessError when the command fails and ``check`` is set, ExpectError when it does not
    end within ``timeout`` seconds.
    """
    token = secrets.token_hex(4)
    # The quotes keep the echo of what is typed here from looking like what it prints.
    console.send(
        f"echo __b''egin_{token}; eval {_quote(command)} </dev/null; echo __e''nd_{token} $?\n"
    )
    console.expect(rf"__begin_{token}\n", timeout)
    done = console.expect(re.compile(rf"(.*?)__end_{token} (\d+)\n", re.DOTALL), timeout)
    if check and done[2] != "0":
        said = done[1].strip()
        raise HarnessError(f"{console.name}: {command!r} failed with {done[2]}: {said}")
    return done[1].removesuffix("\n")


def _quote(command: str) -> str:
    """Return ``command`` as one shell word that survives being typed at an interactive shell."""
    if command.isascii() and command.isprintable():
        return shlex.quote(command)
    encoded = base64.b64encode(command.encode()).decode()  # a tab typed would ask for completion
    return f'"$(echo {encoded} | base64 -d)"'
