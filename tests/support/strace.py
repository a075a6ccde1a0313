"""System calls of a running process, in the order in which they began and ended (strace(1))."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SystemCall", "calls", "traced"]

_LINE = re.compile(r"(\d+) +(.*)")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)")
_UNFINISHED = " <unfinished ...>"


@dataclass(frozen=True)
class SystemCall:
    """One call: ``begun`` and ``ended`` are places in the order of all that happened.

    ``text`` has the arguments and the result, as strace writes them.
    """

    name: str
    text: str
    begun: int
    ended: int


@contextmanager
def traced(pid: int, names: str, output: Path) -> Iterator[None]:
    """Write the calls ``names`` of all threads of ``pid`` to ``output``, from the first line on.

    File descriptors bear the names of their files, and what is sent is written down whole.
    """
    argv = ["strace", "-f", "-y", "-s", "65536", "-e", f"trace={names}", "-o", str(output)]
    process = subprocess.Popen([*argv, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        assert "attached" in said, said
        yield
    finally:
        process.terminate()  # it lets go of the process, which goes on
        process.communicate(timeout=30)


def calls(output: str) -> list[SystemCall]:
    """Return the calls that have ended in what :func:`traced` wrote."""
    found: list[SystemCall] = []
    begun: dict[str, tuple[int, str]] = {}
    for place, line in enumerate(output.splitlines()):
        whole = _LINE.fullmatch(line)
        assert whole, line
        thread, rest = whole.groups()
        start = place
        if resumed := _RESUMED.fullmatch(rest):
            if thread not in begun:  # it had begun before strace came
                continue
            start, before = begun.pop(thread)
            rest = before + resumed[2]
        elif rest.endswith(_UNFINISHED):
            begun[thread] = place, rest.removesuffix(_UNFINISHED)
            continue
        if call := _CALL.match(rest):
            found.append(SystemCall(call[1], call[2], start, place))
    return found
