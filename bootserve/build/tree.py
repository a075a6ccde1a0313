"""A root being made: paths that cannot lead out of it, and what is put into and taken out of it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from bootserve.errors import InvalidInput

__all__ = ["Tree"]

_MAX_LINKS = 40


class Tree:
    """The root of an image under ``root``.

    Every name is resolved as a process inside the image would see it: an absolute link stays
    inside. So a tree of unknown origin cannot make the build read or write the builder's files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Return where ``name`` is, its directories resolved and its last part not."""
        folder, _, last = name.strip("/").rpartition("/")
        return self._resolve(folder) / last

    def target(self, name: str) -> Path:
        """Return where ``name`` is, wholly resolved; it need not exist."""
        return self._resolve(name)

    def write(self, name: str, content: bytes | str, mode: int = 0o644) -> None:
        """Put a file there, in place of whatever file or link is there."""
        path = self._clear(name)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    def link(self, name: str, target: str) -> None:
        """Put a symbolic link there, in place of whatever file or link is there."""
        self._clear(name).symlink_to(target)

    def remove(self, *patterns: str) -> None:
        """Remove what matches ``DIRECTORY/PATTERN``; the directory itself stays."""
        for pattern in patterns:
            folder, _, last = pattern.rpartition("/")
            for found in self._resolve(folder).glob(last):
                if found.is_dir() and not found.is_symlink():
                    shutil.rmtree(found)
                else:
                    found.unlink()

    def empty_files(self, name: str) -> None:
        """Remove all files below directory ``name`` and keep its directories."""
        for folder, _, files in os.walk(self._resolve(name)):
            for file in files:
                (Path(folder) / file).unlink()

    def add(self, source: Path, modes: Mapping[str, str], epoch: int) -> None:
        """Copy the tree ``source`` over this one, owned by root and dated ``epoch``.

        Modes are 0755 for what is executable and for directories, else 0644, unless ``modes``
        (octal, by path) says otherwise. Raises InvalidInput where a file would replace a directory.
        """
        for found in sorted(source.rglob("*")):
            name = found.relative_to(source).as_posix()
            self._add_one(name, found, modes.get(name))
            where = self.path(name)
            os.chown(where, 0, 0, follow_symlinks=False)
            os.utime(where, (epoch, epoch), follow_symlinks=False)

    def date(self, epoch: int) -> None:
        """Set every time that is later than ``epoch`` to it."""
        for path in self._walk():
            if path.lstat().st_mtime > epoch:
                os.utime(path, (epoch, epoch), follow_symlinks=False)

    def _walk(self) -> Iterator[Path]:
        for folder, names, files in os.walk(self.root):
            yield Path(folder)
            yield from (Path(folder) / name for name in (*names, *files))

    def _add_one(self, name: str, found: Path, mode: str | None) -> None:
        if found.is_symlink():
            self.link(name, os.readlink(found))
        elif found.is_dir():
            self._make_directories(name)
            if mode:
                self._resolve(name).chmod(int(mode, 8))
        else:
            plain = 0o755 if found.stat().st_mode & stat.S_IXUSR else 0o644
            self.write(name, found.read_bytes(), int(mode, 8) if mode else plain)

    def _make_directories(self, name: str) -> None:
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            path = self._resolve("/".join(parts[:count]))
            if not path.exists():
                path.mkdir(parents=True)
                path.chmod(0o755)
            elif not path.is_dir():
                raise InvalidInput(f"/{name} of the image is no directory and cannot become one")

    def _clear(self, name: str) -> Path:
        folder = name.strip("/").rpartition("/")[0]
        if folder:
            self._make_directories(folder)
        path = self.path(name)
        if path.is_dir() and not path.is_symlink():
            raise InvalidInput(f"/{name} of the image is a directory and cannot become a file")
        path.unlink(missing_ok=True)
        return path

    def _resolve(self, name: str) -> Path:
        todo, here, links = [p for p in name.split("/") if p][::-1], self.root, 0
        while todo:
            part = todo.pop()
            if part == "..":
                here = here.parent if here != self.root else here
                continue
            if part == ".":
                continue
            if not (here / part).is_symlink():
                here = here / part
                continue
            links += 1
            if links > _MAX_LINKS:
                raise InvalidInput(f"/{name} of the image has too many symbolic links")
            target = os.readlink(here / part)
            here = self.root if target.startswith("/") else here
            todo += [p for p in target.split("/") if p][::-1]
        return here
