"""The list of a root's files, as an artifact: what ``image diff`` compares."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bootserve.model.filelist import HEADER, MAX_LIST_BYTES, FileEntry

__all__ = ["write_file_list"]

_CHUNK = 1 << 20
_KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}


def write_file_list(tree: Path, output: Path, *, limit: int = MAX_LIST_BYTES) -> None:
    """Write to ``output`` a line for everything in ``tree``, sorted by path.

    The same tree gives the same bytes. What does not fit ``limit`` bytes is counted in a last line.
    """
    with output.open("wb") as file:
        left, cut = limit - file.write(f"{HEADER}\n".encode()), 0
        for path in sorted(_paths(os.fsencode(tree))):
            if not cut:
                line = f"{_entry(os.fsencode(tree), path).line()}\n".encode()
                left -= len(line)
                if left >= 64:
                    file.write(line)
                    continue
            cut += 1
        if cut:
            file.write(f"cut {cut}\n".encode())


def _paths(tree: bytes) -> Iterator[bytes]:
    """Yield the paths of everything in ``tree``, from its root."""
    for folder, names, files in os.walk(tree):
        for name in (*names, *files):
            yield os.path.relpath(os.path.join(folder, name), tree)


def _entry(tree: bytes, path: bytes) -> FileEntry:
    where = os.path.join(tree, path)
    found = os.lstat(where)
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "o")
    return FileEntry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        size=found.st_size if kind == "f" else 0,
        content=_digest(where) if kind == "f" else os.readlink(where) if kind == "l" else b"",
    )


def _digest(path: bytes) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest().encode()
