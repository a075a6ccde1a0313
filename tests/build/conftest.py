"""Bundles built for real, from the packages in the cache."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bootserve.build.bundle import Bundle, read_bundle
from bootserve.build.image import build_image, default_cache_dir
from tests.support.bundles import ROOT


@pytest.fixture(scope="session")
def demo_tree(demo_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo image's root, unpacked."""
    return unpack(demo_bundle, tmp_path_factory.mktemp("tree") / "root")


@pytest.fixture(scope="session")
def base_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of debian-base, with the small kernel and few packages, and all else as it is."""
    folder = tmp_path_factory.mktemp("base")
    definition = shutil.copytree(ROOT / "images/debian-base", folder / "definition", symlinks=True)
    toml = (definition / "image.toml").read_text()
    before, _, rest = toml.partition("packages = [")
    packages = '["dbus", "iproute2", "openssh-server", "systemd-resolved"]'
    toml = f"{before}packages = {packages}{rest.partition(']')[2]}"
    toml = toml.replace('kernel = "generic"', 'kernel = "cloud"')
    toml = toml.replace("compression_level = 15", "compression_level = 1")
    (definition / "image.toml").write_text(toml)
    build_image(definition, output=folder / "bundle", cache_dir=default_cache_dir())
    return unpack(read_bundle(folder / "bundle"), folder / "root")


def unpack(bundle: Bundle, target: Path) -> Path:
    """Unpack the root of ``bundle``."""
    argv = ["unsquashfs", "-quiet", "-no-progress", "-dest", str(target)]
    root = str(bundle.artifact("root"))
    subprocess.run([*argv, root], check=True, stdout=subprocess.DEVNULL)
    return target
