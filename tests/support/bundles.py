"""Images built once for a whole run: parallel workers share them."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bootserve.build.bundle import Bundle, read_bundle
from bootserve.build.image import build_image, default_cache_dir

__all__ = ["DEMO", "ROOT", "built_once", "hang_at_start", "in_erofs", "small_base"]

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "images/demo"
BASE = ROOT / "images/debian-base"
_BASE_PACKAGES = (
    '["dbus", "iproute2", "logrotate", "man-db", "openssh-server", "procps", "systemd-resolved"]'
)

_HANG = """\
[Unit]
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sleep infinity
"""


def built_once(
    factory: pytest.TempPathFactory, name: str, change: Callable[[Path], object] | None = None
) -> Bundle:
    """Return the bundle ``name`` of this run: the demo image, its definition changed by ``change``.

    Its packages come from the cache if they are there. Whoever asks first builds it, and the other
    workers wait.
    """
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "bundles"
    shared.mkdir(exist_ok=True)
    output = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            definition = shared / f"{name}.definition"
            shutil.rmtree(definition, ignore_errors=True)
            shutil.copytree(DEMO, definition, symlinks=True)
            if change is not None:
                change(definition)
            build_image(definition, output=output, cache_dir=default_cache_dir())
    return read_bundle(output)


def small_base(definition: Path) -> None:
    """Make ``definition`` that of debian-base, with the small kernel and few packages.

    All else is as it is. Whoever uses it shares one unpacked tree.
    """
    shutil.rmtree(definition, ignore_errors=True)
    shutil.copytree(BASE, definition, symlinks=True)
    toml = (definition / "image.toml").read_text()
    before, _, rest = toml.partition("packages = [")
    toml = f"{before}packages = {_BASE_PACKAGES}{rest.partition(']')[2]}"
    toml = toml.replace('kernel = "generic"', 'kernel = "cloud"')
    toml = toml.replace("compression_level = 15", "compression_level = 1")
    (definition / "image.toml").write_text(toml)


def in_erofs(definition: Path) -> None:
    """Have the root of ``definition`` be an erofs."""
    with (definition / "image.toml").open("r+") as toml:
        text = toml.read()
        assert "root_format" not in text
        toml.seek(0)
        toml.write(f'root_format = "erofs"\n{text}')


def hang_at_start(definition: Path) -> None:
    """Add a unit that never ends its start and that everything waits for."""
    units = definition / "files/etc/systemd/system"
    (units / "sysinit.target.requires").mkdir(parents=True)
    (units / "sysinit.target.requires/hang.service").symlink_to("../hang.service")
    (units / "hang.service").write_text(_HANG)
