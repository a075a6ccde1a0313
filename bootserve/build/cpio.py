"""Archives that the kernel unpacks as its initramfs: cpio's "newc" format.

The format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
Numbers, owners and times are fixed, so equal content gives equal bytes.
"""

from __future__ import annotations

import stat
from pathlib import PurePosixPath

__all__ = ["CpioArchive"]


class CpioArchive:
    """A cpio archive being made in memory. All is owned by root and dated 0.

    Directories above what is added are made on the way.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._names: set[str] = set()

    def file(self, name: str, content: bytes, *, mode: int = 0o644) -> None:
        """Add a file; a name that is there already is an error (ValueError)."""
        self._entry(name, stat.S_IFREG | mode, content)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def directory(self, name: str, *, mode: int = 0o755) -> None:
        """Add a directory, unless it is there."""
        if name not in self._names:
            self._entry(name, stat.S_IFDIR | mode, b"")

    def device(self, name: str, major: int, minor: int, *, mode: int = 0o600) -> None:
        """Add a character device."""
        self._entry(name, stat.S_IFCHR | mode, b"", (major, minor))

    def to_bytes(self) -> bytes:
        """Return the archive with its trailer, padded to 512 bytes."""
        trailer = bytearray(self._data)
        trailer += _header("TRAILER!!!", 0, 0, 0, (0, 0))
        return bytes(trailer.ljust(-(-len(trailer) // 512) * 512, b"\0"))

    def _entry(
        self, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)
    ) -> None:
        if name in self._names:
            raise ValueError(f"{name} is in the archive already")
        parent = str(PurePosixPath(name).parent)
        if parent != ".":
            self.directory(parent)
        self._names.add(name)
        self._data += _header(name, len(self._names), mode, len(content), device)
        self._data += content + b"\0" * (-len(content) % 4)


def _header(name: str, inode: int, mode: int, size: int, device: tuple[int, int]) -> bytes:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, size, 0, 0, *device, len(encoded), 0)
    start = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return start + b"\0" * (-len(start) % 4)
