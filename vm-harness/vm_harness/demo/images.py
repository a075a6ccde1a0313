"""The demo's two generations: the image ``images/demo``, and the same with one file more."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from vm_harness.errors import HarnessError

__all__ = ["build_both", "find_definition"]

MARK = "files/etc/demo-generation"


def find_definition() -> Path:
    """Return the definition ``images/demo`` of this checkout; raises HarnessError."""
    for folder in (Path.cwd(), *Path(__file__).resolve().parents):
        if (folder / "images/demo/image.toml").exists():
            return folder / "images/demo"
    raise HarnessError("images/demo is not here: run the demo in a checkout")


def build_both(
    command: Sequence[str], folder: Path, say: Callable[[str], None]
) -> tuple[Path, Path]:
    """Build both bundles into ``folder`` with ``bootserve image build`` and return their paths.

    The second differs by one file in /etc, so it reuses the unpacked tree of the first.
    """
    definition = find_definition()
    bundles = []
    for number in ("1", "2"):
        copy = folder / f"definition-{number}"
        shutil.copytree(definition, copy)
        mark = copy / MARK
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(f"{number}\n")
        bundle = folder / f"demo-{number}.bundle"
        _build(command, copy, bundle, say)
        bundles.append(bundle)
    return bundles[0], bundles[1]


def _build(
    command: Sequence[str], definition: Path, bundle: Path, say: Callable[[str], None]
) -> None:
    argv = [*command, "image", "build", str(definition), "--output", str(bundle)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL
    ) as build:
        assert build.stdout is not None
        for line in build.stdout:
            say(line.strip())
    if build.returncode:
        raise HarnessError(f"{' '.join(argv)} failed with {build.returncode}")
