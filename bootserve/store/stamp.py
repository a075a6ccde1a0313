"""When something was last done, in a small file, so that a restart does not forget it."""

from __future__ import annotations

from pathlib import Path

from bootserve.store.files import os_errors, write_atomic

__all__ = ["read_stamp", "write_stamp"]


def read_stamp(path: Path) -> float:
    """Return the time in the file, in seconds since the epoch; 0 when there is none to be read."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0


def write_stamp(path: Path, at: float) -> None:
    """Put ``at`` (seconds since the epoch) there; raises Refused, StorageFull or Unavailable."""
    with os_errors(f"writing {path}"):
        write_atomic(path, f"{at:.3f}\n".encode())
