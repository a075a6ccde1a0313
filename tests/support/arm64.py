"""An EFI program for arm64, from Debian's archive: the NBP of the arm64 cells."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from bootserve.build.image import default_cache_dir

__all__ = ["NBP", "STARTED", "arm64_nbp"]

PACKAGE = "grub-efi-arm64-signed"
MEMBER = "usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed"
NBP = "grubnetaa64.efi"
STARTED = "Welcome to GRUB!"
"""What it writes on the console once it runs."""


def arm64_nbp() -> Path:
    """Return the path of GRUB's network image for arm64, fetched once into the image cache.

    Debian has no iPXE for arm64. The package of the foreign architecture is fetched by an apt with
    lists of its own, so that the machine's architectures and packages stay as they are.
    """
    folder = default_cache_dir() / "arm64"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / NBP).exists():
            _fetch(folder)
    return folder / NBP


def _fetch(folder: Path) -> None:
    state, unpacked = folder / "apt", folder / "unpacked"
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
    }
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*apt, "update"], folder)
    _run([*apt, "download", PACKAGE], folder)
    [package] = folder.glob(f"{PACKAGE}_*.deb")
    _run(["dpkg-deb", "-x", str(package), str(unpacked)], folder)
    os.replace(unpacked / MEMBER, folder / NBP)
    package.unlink()
    for used in (state, unpacked):
        shutil.rmtree(used)


def _run(argv: list[str], cwd: Path) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr or done.stdout}"
