"""Programs of Debian packages that are no part of the set-up: unpacked to a cache, not installed.

Their packages would enable services; what is wanted of them is a program's check of a file.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Unpacked", "unpacked"]

_APT = (
    *("apt-get", "-q", "-y", "--no-install-recommends", "--download-only", "--reinstall"),
    *("-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"),
)


class Unpacked:
    """Packages unpacked under ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, program: str, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a program of theirs with their libraries."""
        libraries = {str(path.parent) for path in self.root.glob("usr/lib/**/*.so.*")}
        return subprocess.run(
            [self.root / program, *words],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(sorted(libraries)), **env},
        )


def unpacked(name: str, packages: Sequence[str]) -> Unpacked:
    """Return ``packages``, with what of their dependencies is not installed, in the cache.

    Fetched once, as the machine's apt knows them, whose lists are brought up to date when it cannot
    fetch by those it has; parallel workers wait for one another.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = base / "bootserve/checkers" / name
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "root").is_dir():
            _fetch(cache, packages)
    return Unpacked(cache / "root")


def _fetch(cache: Path, packages: Sequence[str]) -> None:
    shutil.rmtree(cache, ignore_errors=True)
    (cache / "debs/partial").mkdir(parents=True)
    install = [*_APT, "-o", f"Dir::Cache::archives={cache / 'debs'}", "install", *packages]
    done = _run(install)
    if done.returncode != 0:  # no lists, or old ones, whose packages the mirror has no more
        _run(["apt-get", "-q", "update"])
        done = _run(install)
    assert done.returncode == 0, f"{packages} cannot be fetched: {done.stderr[-500:]}"
    for deb in sorted((cache / "debs").glob("*.deb")):
        subprocess.run(["dpkg", "-x", deb, cache / "unpacking"], check=True, timeout=60)
    shutil.rmtree(cache / "debs")
    (cache / "unpacking").rename(cache / "root")


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
