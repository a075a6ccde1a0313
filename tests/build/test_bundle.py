"""Bundles: written whole, read back, and refused when they are not what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootserve.build.bundle import artifact_of, read_bundle, verify_bundle, write_bundle
from bootserve.errors import Conflict, IntegrityError, InvalidInput, ManifestError
from bootserve.model.generation import Manifest
from bootserve.model.names import Arch


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / f"the-{name}" for name in ("kernel", "initrd", "root")}
    for name, path in made.items():
        path.write_bytes(name.encode() * 1000)
    return made


def manifest_of(files: dict[str, Path]) -> Manifest:
    artifacts = {name: artifact_of(path) for name, path in files.items()}
    return Manifest(image="web", arch=Arch.AMD64, artifacts=artifacts)


@pytest.mark.parametrize("link", [True, False])
def test_a_bundle_is_read_as_it_was_written(
    link: bool, files: dict[str, Path], tmp_path: Path
) -> None:
    manifest = manifest_of(files)
    output = tmp_path / "new/place"
    write_bundle(output, manifest, files, link=link)
    assert verify_bundle(output) == manifest
    bundle = read_bundle(output)
    assert bundle.artifact("root").read_bytes() == b"root" * 1000
    assert bundle.artifact("root").name == manifest.artifacts["root"].sha256
    assert bundle.artifact("root").samefile(files["root"]) is link
    assert sorted(path.name for path in output.iterdir()) == ["manifest.json", "sha256"]
    assert [path.name for path in output.parent.iterdir()] == ["place"]


def test_equal_artifacts_are_one_file(files: dict[str, Path], tmp_path: Path) -> None:
    files["initrd"].write_bytes(files["kernel"].read_bytes())
    write_bundle(tmp_path / "b", manifest_of(files), files)
    assert len(list((tmp_path / "b/sha256").iterdir())) == 2
    verify_bundle(tmp_path / "b")


def test_an_older_bundle_is_replaced(files: dict[str, Path], tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", manifest_of(files), files)
    files["root"].write_bytes(b"another")
    second = manifest_of(files)
    write_bundle(tmp_path / "b", second, files)
    assert verify_bundle(tmp_path / "b") == second
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_something_else_is_not_overwritten(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").write_text("dear")
    with pytest.raises(Conflict, match="is no bundle"):
        write_bundle(tmp_path / "home", manifest_of(files), files)
    assert (tmp_path / "home/letter").read_text() == "dear"


def test_a_failed_write_leaves_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    manifest = manifest_of(files)
    files["root"].unlink()
    with pytest.raises(Exception, match="the-root"):
        write_bundle(tmp_path / "out/b", manifest, files)
    assert list((tmp_path / "out").iterdir()) == []


def test_broken_bundles_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "b"
    bundle = write_bundle(output, manifest_of(files), files)
    root = bundle.artifact("root")
    flipped = bytearray(root.read_bytes())
    flipped[7] ^= 1
    root.write_bytes(flipped)
    read_bundle(output)
    with pytest.raises(IntegrityError, match="artifact root has digest"):
        verify_bundle(output)
    root.write_bytes(flipped[:-1])
    with pytest.raises(IntegrityError, match="3999 bytes, not 4000"):
        read_bundle(output)
    root.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        read_bundle(output)
    (output / "manifest.json").write_text((output / "manifest.json").read_text() + "\n")
    with pytest.raises(ManifestError, match="canonical"):
        read_bundle(output)
    (output / "manifest.json").unlink()
    with pytest.raises(InvalidInput, match="is no bundle"):
        read_bundle(output)
