"""Bundles built for real, from the packages in the cache."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootserve.build.bundle import Bundle
from tests.support.bundles import built_once, small_base


@pytest.fixture(scope="session")
def demo_tree(demo_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo image's root, unpacked."""
    return unpack(demo_bundle, tmp_path_factory.mktemp("tree") / "root")


@pytest.fixture(scope="session")
def base_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of debian-base, with the small kernel and few packages, and all else as it is."""
    base = built_once(tmp_path_factory, "base", small_base)
    return unpack(base, tmp_path_factory.mktemp("base") / "root")


def unpack(bundle: Bundle, target: Path) -> Path:
    """Unpack the root of ``bundle``."""
    argv = ["unsquashfs", "-quiet", "-no-progress", "-dest", str(target)]
    root = str(bundle.artifact("root"))
    subprocess.run([*argv, root], check=True, stdout=subprocess.DEVNULL)
    return target
