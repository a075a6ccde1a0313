"""The node-side files: the initramfs' own and those that every image gets."""

from __future__ import annotations

from pathlib import Path

from bootserve.errors import Unavailable

__all__ = ["node_files"]


def node_files() -> Path:
    """Return the folder with ``initramfs/`` and ``root/``: in the wheel, else in the checkout.

    Raises Unavailable when neither has it.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "data" / "node", package.parent / "images" / "node"):
        if (folder / "initramfs" / "init").is_file():
            return folder
    raise Unavailable("the node-side files are missing", hint="Install bootserve again.")
