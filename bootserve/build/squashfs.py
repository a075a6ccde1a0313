"""A tree as a read-only file system image, the same bytes from the same tree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bootserve.build.run import build_environment, run
from bootserve.errors import InvalidInput

__all__ = ["RootFormat", "detect_root_format", "make_root_image"]

RootFormat = Literal["squashfs", "erofs"]

_BAR = re.compile(r"(\d+)/(\d+)\s+\d+%$")
_EROFS_MAX_LEVEL = 12
# A file system needs a UUID and nothing reads it; the content is known by its digest.
_UUID = "b0075e7e-0000-4000-8000-000000000000"
_EROFS_MAGIC = bytes.fromhex("e2e1f5e0")


def make_root_image(
    tree: Path,
    output: Path,
    *,
    root_format: RootFormat,
    level: int,
    epoch: int,
    progress: Callable[[float, str], None],
) -> None:
    """Write the file system image of ``tree`` to ``output``.

    No time in it is later than ``epoch`` (seconds); entries are sorted by name. The result depends
    on the tree and on the version of mksquashfs or mkfs.erofs, and not on the number of CPUs.

    Raises BuildFailed, StorageFull, or Unavailable when the tool is not installed.
    """
    output.unlink(missing_ok=True)

    def on_line(line: str) -> None:
        if match := _BAR.search(line):
            progress(int(match[1]) / max(1, int(match[2])), "")

    if root_format == "squashfs":
        argv = ["mksquashfs", str(tree), str(output), "-noappend", "-no-exports", "-xattrs"]
        argv += ["-comp", "zstd", "-Xcompression-level", str(level), "-progress", "-no-recovery"]
    else:
        argv = ["mkfs.erofs", f"-zlz4hc,{min(level, _EROFS_MAX_LEVEL)}"]
        argv += ["-T", str(epoch), "-U", _UUID, str(output), str(tree)]
    # mksquashfs takes its own time and the upper limit of all others from the environment
    run(argv, on_line=on_line, env=build_environment({"SOURCE_DATE_EPOCH": str(epoch)}))
    progress(1.0, f"{output.stat().st_size >> 20} MiB")


def detect_root_format(image: Path) -> RootFormat:
    """Return what file system the file ``image`` holds; raises InvalidInput for any other."""
    with image.open("rb") as stream:
        start = stream.read(1028)
    if start.startswith(b"hsqs"):
        return "squashfs"
    if start[1024:1028] == _EROFS_MAGIC:
        return "erofs"
    raise InvalidInput(
        f"{image} is neither a squashfs nor an erofs image",
        hint="Make one with mksquashfs, or import a root tarball.",
    )
