"""Where the files beside the code are: in a wheel or in a checkout."""

from __future__ import annotations

from pathlib import Path

from bootserve.errors import NotFound

__all__ = ["node_files", "quirks", "templates"]

_PACKAGE = Path(__file__).resolve().parent


def templates() -> Path:
    """Return the directory of the shipped iPXE templates."""
    return _find("data/ipxe_templates", "ipxe_templates")


def quirks() -> Path:
    """Return the shipped table of firmware quirks."""
    return _PACKAGE / "core/quirks.toml"


def node_files() -> Path:
    """Return the directory of the node-side files that go into every image."""
    return _find("data/node", "images/node")


def _find(in_wheel: str, in_checkout: str) -> Path:
    for path in (_PACKAGE / in_wheel, _PACKAGE.parent / in_checkout):
        if path.is_dir():
            return path
    raise NotFound(f"this installation lacks {in_checkout}", hint="Install bootserve again.")
