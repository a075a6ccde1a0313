"""Runs the checkout's programs as an ordinary user, also where only root may enter it.

A checkout may lie in a folder that none but its owner may enter, as a home or a temporary one is.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["in_public"]

ROOT = Path(__file__).resolve().parents[2]

# In a mount name space of its own, the folder that is private has an empty, public one over it,
# in which the checkout stands where it stood.
_UNCOVER = """\
set -eu
held=$(mktemp -d)
mount --bind "$1" "$held"
mount -t tmpfs -o mode=755 uncovered "$2"
mkdir -p "$1"
mount --move "$held" "$1"
rmdir "$held"
shift 2
exec "$@"
"""


def in_public() -> list[str]:
    """Return what to put before a command, run as root, so that every user can reach the checkout.

    It is empty where they can anyway. The process that is started is the command's own.
    """
    private = [one for one in ROOT.parents if not one.stat().st_mode & 0o001]
    if not private:
        return []
    return ["unshare", "--mount", "sh", "-c", _UNCOVER, "sh", str(ROOT), str(private[-1])]
