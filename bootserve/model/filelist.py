"""The list of the files in a root, one a line.

::

    bootserve-files 1
    f 0755 0 0 1346480 sha256-in-hex usr/bin/busybox
    l 0777 0 0 0 usr/bin bin
    d 0755 0 0 0 - etc
    cut 1200

Kind (file, directory, link, other), mode, owner, group, size in bytes, digest or link's target,
path from the root; sorted by path. In paths and targets every byte but those of plain names is
written as ``%XX``. The last line, if it is there, says how many more there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from bootserve.errors import InvalidInput

__all__ = ["HEADER", "MAX_LIST_BYTES", "Cut", "FileEntry", "read_file_list"]

HEADER = "bootserve-files 1"
MAX_LIST_BYTES = 64 << 20
"""Bytes of a list: some 500,000 files."""

_PLAIN = "/+@:,=~^[]()!#&;$"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: ``content`` is its sha256 in hex, or the target of a link."""

    path: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    content: bytes

    def line(self) -> str:
        """Return the line that stands for it, without its end."""
        quoted = quote_from_bytes(self.content, safe=_PLAIN)
        content = "%2D" if quoted == "-" else quoted or "-"
        return (
            f"{self.kind} {self.mode:04o} {self.uid} {self.gid} {self.size} {content}"
            f" {quote_from_bytes(self.path, safe=_PLAIN)}"
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """The end of a list that is not whole: ``count`` files are not in it."""

    count: int


def read_file_list(lines: Iterable[str]) -> Iterator[FileEntry | Cut]:
    """Yield what the lines of a list hold; raises InvalidInput for one that is none."""
    found = iter(lines)
    if next(found, "").rstrip("\n") != HEADER:
        raise InvalidInput("this is no list of files that this version can read")
    for line in found:
        parts = line.rstrip("\n").split(" ")
        try:
            yield Cut(int(parts[1])) if parts[0] == "cut" else _entry(parts)
        except (ValueError, IndexError):
            raise InvalidInput(f"a list of files has a malformed line: {line[:80]!r}") from None


def _entry(parts: list[str]) -> FileEntry:
    kind, mode, uid, gid, size, content, path = parts
    return FileEntry(
        path=unquote_to_bytes(path),
        kind=kind,
        mode=int(mode, 8),
        uid=int(uid),
        gid=int(gid),
        size=int(size),
        content=b"" if content == "-" else unquote_to_bytes(content),
    )
