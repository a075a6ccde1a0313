"""Which packages are asked for, and their date."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootserve.build.definition import Definition, load_definition
from bootserve.build.mirror import host_targets, sources_for
from bootserve.build.packages import Package, PackageCache, newest_date, package_names
from bootserve.build.rootfs import tree_key
from bootserve.build.run import BuildFailed

ROOT = Path(__file__).resolve().parents[2]


def definition(**fields: object) -> Definition:
    given = {"name": "x", "distribution": "bookworm", "kernel": "cloud", "packages": ["vim"]}
    return Definition.model_validate({**given, **fields})


@pytest.mark.parametrize(
    ("kernel", "arch", "package"),
    [
        ("cloud", "amd64", "linux-image-cloud-amd64"),
        ("generic", "amd64", "linux-image-amd64"),
        ("generic", "arm64", "linux-image-arm64"),
    ],
)
def test_the_kernel_is_debians(kernel: str, arch: str, package: str) -> None:
    assert package in package_names(definition(kernel=kernel, arch=arch))


def test_a_package_is_asked_for_once() -> None:
    names = package_names(definition(packages=["udev", "vim"]))
    assert names.count("udev") == 1
    assert "vim" in names


def test_file_names_are_apts() -> None:
    package = Package("libgmp10", "2:6.2.1+dfsg1-1.1", "amd64")
    assert package.file_name == "libgmp10_2%3a6.2.1+dfsg1-1.1_amd64.deb"


def test_debian_base_has_the_firmware_of_servers_nics_and_microcode(tmp_path: Path) -> None:
    base = load_definition(ROOT / "images/debian-base").definition
    cache = PackageCache(tmp_path, base.arch, sources_for(base, host_targets()))
    names = {package.name for package in cache.resolve(base)}
    assert {"linux-image-amd64", "intel-microcode", "amd64-microcode"} <= names
    assert {"firmware-bnx2x", "firmware-qlogic", "firmware-misc-nonfree"} <= names
    assert not list(cache.debs.glob("*.deb"))


def deb(folder: Path, name: str, date: int) -> Path:
    (folder / name / "DEBIAN").mkdir(parents=True)
    control = (
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y>\nDescription: x\n"
    )
    (folder / name / "DEBIAN/control").write_text(control)
    environment = {"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": str(date)}
    argv = ["dpkg-deb", "--build", str(folder / name), str(folder / f"{name}.deb")]
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    return folder / f"{name}.deb"


def test_the_newest_packages_date_is_found(tmp_path: Path) -> None:
    files = [deb(tmp_path, "one", 1_600_000_000), deb(tmp_path, "two", 1_700_000_000)]
    assert newest_date(files) == 1_700_000_000


def test_what_is_no_package_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"<html>")
    with pytest.raises(BuildFailed, match="is not a Debian package"):
        newest_date([tmp_path / "x.deb"])


def test_an_unpacked_tree_is_used_again_only_for_the_same_packages() -> None:
    packages = [Package("vim", "1", "amd64")]
    key = tree_key(definition(), packages, 1)
    assert tree_key(definition(scripts=["a"], cmdline="quiet", name="y"), packages, 1) == key
    assert tree_key(definition(), [Package("vim", "2", "amd64")], 1) != key
    assert tree_key(definition(docs=True), packages, 1) != key
    assert tree_key(definition(packages=[]), packages, 1) != key
