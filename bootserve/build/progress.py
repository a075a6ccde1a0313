"""What a build tells about itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["STAGES", "Progress", "ProgressCallback", "quiet"]

STAGES = (
    "definition",
    "resolve",
    "download",
    "install",
    "unpack",
    "files",
    "scripts",
    "initramfs",
    "seal",
    "list",
    "root",
    "verity",
    "bundle",
)
"""The stages of a build in their order; ``download`` and ``install`` are left out when the cache
has the unpacked packages."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One stage (of STAGES), how much of it is done (0.0 to 1.0) and a word about what is done."""

    stage: str
    fraction: float
    detail: str = ""


ProgressCallback = Callable[[Progress], None]


def quiet(_progress: Progress) -> None:
    """Take a progress report and do nothing with it."""
