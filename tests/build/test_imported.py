"""Images built elsewhere: three files, or the tarball of a root."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Literal, TypedDict

import pytest

from bootserve.build.bundle import Bundle, verify_bundle
from bootserve.build.image import default_cache_dir
from bootserve.build.imported import import_files, import_tarball
from bootserve.errors import InvalidInput
from bootserve.model.names import Arch


class Files(TypedDict):
    kernel: Path
    initrd: Path
    root: Path


@pytest.fixture
def files(demo_bundle: Bundle, tmp_path: Path) -> Files:
    """Copies that a test may damage."""

    def copy(name: str) -> Path:
        return Path(shutil.copy(demo_bundle.artifact(name), tmp_path / name))

    return Files(kernel=copy("kernel"), initrd=copy("initrd"), root=copy("root"))


def test_three_files_become_a_bundle(files: Files, demo_bundle: Bundle, tmp_path: Path) -> None:
    output = tmp_path / "out"
    manifest = import_files("web", output=output, cmdline="quiet", min_memory_mib=512, **files)
    assert verify_bundle(output) == manifest
    assert manifest.image == "web"
    assert manifest.cmdline == "quiet"
    assert manifest.min_memory_mib == 512
    built = demo_bundle.manifest.artifacts
    assert manifest.artifacts == {name: built[name] for name in ("kernel", "initrd", "root")}
    assert manifest.verity_root_hash == demo_bundle.manifest.verity_root_hash
    assert manifest.definition == ""


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("kernel", lambda data: b"MZ" + data[2:0x202] + b"none" + data[0x206:], "no Linux kernel"),
        ("kernel", lambda data: b"", "no file, or an empty one"),
        ("root", lambda data: b"PK" + data[2:], "neither a squashfs nor an erofs"),
        ("root", lambda data: data + b"x", "no whole number of 4096-byte blocks"),
    ],
)
def test_files_that_cannot_boot_are_refused(
    name: Literal["kernel", "root"], damage: object, message: str, files: Files, tmp_path: Path
) -> None:
    assert callable(damage)
    files[name].write_bytes(damage(files[name].read_bytes()))
    with pytest.raises(InvalidInput, match=message):
        import_files("web", output=tmp_path / "out", **files)
    assert not (tmp_path / "out").exists()


def test_another_architecture_is_refused(files: Files, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no Linux kernel image for arm64"):
        import_files("web", output=tmp_path / "out", arch=Arch.ARM64, **files)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"overlay_size": "lots"}, "overlay_size"),
        ({"cmdline": "a\nb"}, "kernel arguments"),
        ({"min_memory_mib": -1}, "min_memory_mib"),
    ],
)
def test_bad_values_are_refused(
    about: dict[str, object], message: str, files: Files, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=message):
        import_files("web", output=tmp_path / "out", **files, **about)  # type: ignore[arg-type]


def test_a_root_tarball_becomes_a_bundle(
    demo_bundle: Bundle, demo_tree: Path, tmp_path: Path
) -> None:
    release = demo_bundle.manifest.kernel_release
    tarball = tmp_path / "root.tar"
    extra = tmp_path / "extra"
    (extra / "boot").mkdir(parents=True)
    (extra / "etc/ssh").mkdir(parents=True)
    (extra / f"boot/vmlinuz-{release}").write_bytes(demo_bundle.artifact("kernel").read_bytes())
    (extra / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (extra / "etc/ssh/ssh_host_rsa_key").write_text("of one machine")
    base = [
        "tar",
        "--numeric-owner",
        "--create",
        "--file",
        str(tarball),
        "--exclude=./etc/machine-id",
    ]
    subprocess.run([*base, "--directory", str(demo_tree), "."], check=True)
    append = ["tar", "--append", "--file", str(tarball), "--directory", str(extra), "."]
    subprocess.run(append, check=True)

    def once(output: Path) -> str:
        manifest = import_tarball(
            "web",
            tarball=tarball,
            output=output,
            compression_level=1,
            cache_dir=default_cache_dir(),
        )
        assert manifest.kernel_release == release
        assert manifest.packages == demo_bundle.manifest.packages
        assert manifest.artifacts["kernel"] == demo_bundle.manifest.artifacts["kernel"]
        return verify_bundle(output).digest

    assert once(tmp_path / "one") == once(tmp_path / "two")
    root = next(path for path in (tmp_path / "one/sha256").iterdir() if is_squashfs(path))
    argv = ["unsquashfs", "-lls", str(root), "etc/machine-id", "etc/ssh", "boot"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert "ssh_host" not in listed
    assert "vmlinuz" not in listed
    assert " 0 " in next(line for line in listed.splitlines() if line.endswith("machine-id"))


def is_squashfs(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"hsqs"


def test_a_tarball_without_a_kernel_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "r.tar", "w") as archive:
        info = tarfile.TarInfo("etc/passwd")
        archive.addfile(info, io.BytesIO())
    with pytest.raises(InvalidInput, match="the root has no kernel"):
        import_tarball("web", tarball=tmp_path / "r.tar", output=tmp_path / "o", cache_dir=tmp_path)
    assert not (tmp_path / "o").exists()


def test_a_tarball_cannot_write_outside_its_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(tmp_path / "r.tar", "w") as archive:
        for name, target in (("etc", str(outside)), ("usr", str(outside)), ("var", str(outside))):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    with pytest.raises(InvalidInput, match="the root has no kernel"):
        import_tarball("web", tarball=tmp_path / "r.tar", output=tmp_path / "o", cache_dir=tmp_path)
    assert list(outside.iterdir()) == []


def test_what_is_no_tarball_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is no file"):
        import_tarball("web", tarball=tmp_path / "gone", output=tmp_path / "o")
