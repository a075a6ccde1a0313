"""A node's drift as it stands in a heartbeat: text, one difference a line.

::

    total 2
    changed file 0644 root:root 3287 1716421330 9f86d08188… /etc/ssh/sshd_config//
    mount - - - 0 0 - /usr/bin//tmpfs tmpfs

The fields are kind, type, mode, owner, size (bytes), mtime (seconds since the epoch), sha256, and
the path with, after ``//``, the detail; ``-`` is nothing. ``total`` is how many differences there
are, of which the text may tell fewer. A newline in a path is sent as the byte 1.
"""

from __future__ import annotations

import re

from bootserve.errors import InvalidInput
from bootserve.model.drift import DriftEntry, DriftKind

__all__ = ["MAX_ENTRIES", "parse_drift"]

MAX_ENTRIES = 1000

_TOTAL = re.compile(r"total (0|[1-9][0-9]{0,8})")
_LINE = re.compile(
    r"(?P<kind>[a-z]+) (?P<type>-|[a-z]+) (?P<mode>-|[0-7]{3,5}) (?P<owner>\S{1,80})"
    r" (?P<size>[0-9]{1,18}) (?P<mtime>-?[0-9]{1,15}(?:\.[0-9]{1,10})?)"
    r" (?P<sha256>-|[0-9a-f]{64}) (?P<path>/.*?)//(?P<detail>.*)",
    re.DOTALL,
)
_KINDS = {kind.value: kind for kind in DriftKind}


def parse_drift(data: bytes) -> tuple[int, tuple[DriftEntry, ...]]:
    """Return how many differences there are and those that ``data`` tells, by path.

    Raises InvalidInput that names the line.
    """
    text = data.decode("utf-8", "replace").replace("\0", "\ufffd")
    first, *lines = text.removesuffix("\n").split("\n")
    total = _TOTAL.fullmatch(first)
    if total is None:
        raise InvalidInput("the drift does not begin with: total NUMBER")
    if len(lines) > min(MAX_ENTRIES, int(total[1])):
        raise InvalidInput(f"the drift has more than {min(MAX_ENTRIES, int(total[1]))} entries")
    entries = [_entry(number, line) for number, line in enumerate(lines, 2)]
    return int(total[1]), tuple(sorted(entries, key=lambda one: one.path))


def _entry(number: int, line: str) -> DriftEntry:
    match = _LINE.fullmatch(line)
    kind = _KINDS.get(match["kind"]) if match else None
    if match is None or kind is None:
        raise InvalidInput(f"line {number} of the drift is malformed: {line[:80]!r}")
    return DriftEntry(
        kind=kind,
        path=match["path"].replace("\x01", "\n"),
        type=_word(match["type"]),
        mode=_word(match["mode"]),
        owner=_word(match["owner"]),
        size=int(match["size"]),
        mtime=float(match["mtime"]),
        sha256=_word(match["sha256"]),
        detail=match["detail"].replace("\x01", "\n"),
    )


def _word(text: str) -> str:
    return "" if text == "-" else text
