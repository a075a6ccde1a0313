"""The demo's two generations: the image ``images/demo``, and the same with one file more."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vm_harness.errors import HarnessError

__all__ = ["Built", "build_both", "find_definition"]

MARK = "files/etc/demo-generation"
_STAGE = re.compile(r" *[0-9.]+ s  ([a-z]+)")


@dataclass(frozen=True, slots=True)
class Built:
    """A bundle, and the stages that its build told of."""

    bundle: Path
    stages: tuple[str, ...]

    @property
    def installed(self) -> bool:
        """Whether its packages were installed for it, and not found unpacked."""
        return "install" in self.stages


def find_definition() -> Path:
    """Return the definition ``images/demo`` of this checkout; raises HarnessError."""
    for folder in (Path.cwd(), *Path(__file__).resolve().parents):
        if (folder / "images/demo/image.toml").exists():
            return folder / "images/demo"
    raise HarnessError("images/demo is not here: run the demo in a checkout")


def build_both(
    command: Sequence[str], folder: Path, say: Callable[[str], None]
) -> tuple[Built, Built]:
    """Build both bundles into ``folder`` with ``bootserve image build``.

    The second differs by one file in /etc, so it reuses the unpacked tree of the first.
    """
    definition = find_definition()
    built = []
    for number in ("1", "2"):
        copy = folder / f"definition-{number}"
        shutil.copytree(definition, copy)
        mark = copy / MARK
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(f"{number}\n")
        bundle = folder / f"demo-{number}.bundle"
        built.append(Built(bundle, _build(command, copy, bundle, say)))
    return built[0], built[1]


def _build(
    command: Sequence[str], definition: Path, bundle: Path, say: Callable[[str], None]
) -> tuple[str, ...]:
    """Build one bundle and return the stages that were told; raises HarnessError."""
    stages = []
    argv = [*command, "image", "build", str(definition), "--output", str(bundle)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL
    ) as build:
        assert build.stdout is not None
        for line in build.stdout:
            say(line.strip())
            if stage := _STAGE.fullmatch(line.rstrip()):
                stages.append(stage[1])
    if build.returncode:
        raise HarnessError(f"{' '.join(argv)} failed with {build.returncode}")
    return tuple(stages)
