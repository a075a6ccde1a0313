"""A bundle: a directory with ``manifest.json`` and its artifacts as ``sha256/HEX``."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bootserve.build.run import os_failure
from bootserve.errors import Conflict, IntegrityError, InvalidInput
from bootserve.model.generation import Artifact, Manifest, parse_manifest

__all__ = ["Bundle", "artifact_of", "check_output", "read_bundle", "verify_bundle", "write_bundle"]

_MANIFEST = "manifest.json"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle at ``path`` whose manifest has been read."""

    path: Path
    manifest: Manifest

    def artifact(self, name: str) -> Path:
        """Return the file of artifact ``name``: kernel, initrd, root or files."""
        return self.path / "sha256" / self.manifest.artifacts[name].sha256


def artifact_of(
    file: Path, progress: Callable[[float, str], None] = lambda _fraction, _detail: None
) -> Artifact:
    """Return the sha256 and size in bytes of ``file``."""
    digest, size, total = hashlib.sha256(), 0, max(1, file.stat().st_size)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            progress(min(1.0, size / total), file.name)
    return Artifact(sha256=digest.hexdigest(), size=size)


def check_output(output: Path) -> None:
    """Raise Conflict unless a bundle may be written at ``output``.

    It may be new, an empty directory, or a bundle, which is replaced.
    """
    if output.exists() and not (output / _MANIFEST).is_file() and not _is_empty(output):
        raise Conflict(
            f"{output} exists and is no bundle", hint="Name a new directory, or remove this one."
        )


def write_bundle(
    output: Path, manifest: Manifest, files: Mapping[str, Path], *, link: bool = False
) -> Bundle:
    """Write a bundle at ``output`` whole or not at all; it and its files are on disk afterwards.

    ``files`` maps each of the manifest's artifacts to a file. It is copied, or with ``link`` linked
    where possible: only for files that nobody writes to afterwards. A bundle that is there already
    is replaced.

    Raises Conflict when something else is there, StorageFull, BuildFailed.
    """
    check_output(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
        try:
            _fill(partial, manifest, files, link=link)
            _replace(partial, output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise os_failure(error) from None
    return Bundle(output, manifest)


def read_bundle(path: Path) -> Bundle:
    """Read the bundle at ``path``; sizes are checked and digests are not.

    Raises InvalidInput when it is no bundle, ManifestError when its manifest is malformed,
    IntegrityError when an artifact is missing or of another size.
    """
    try:
        data = (path / _MANIFEST).read_bytes()
    except OSError:
        raise InvalidInput(
            f"{path} is no bundle: it has no {_MANIFEST}",
            hint="Name a directory that `bootserve image build` wrote.",
        ) from None
    bundle = Bundle(path, parse_manifest(data))
    for name, artifact in bundle.manifest.artifacts.items():
        file = bundle.artifact(name)
        if not file.is_file():
            raise IntegrityError(f"{path}: artifact {name} ({artifact.sha256}) is missing")
        if file.stat().st_size != artifact.size:
            raise IntegrityError(
                f"{path}: artifact {name} has {file.stat().st_size} bytes, not {artifact.size}"
            )
    return bundle


def verify_bundle(
    path: Path, progress: Callable[[float, str], None] = lambda _fraction, _detail: None
) -> Manifest:
    """Return the manifest of the bundle at ``path`` after hashing all its artifacts.

    Raises what :func:`read_bundle` raises, and IntegrityError for a digest that is not the one
    promised.
    """
    bundle = read_bundle(path)
    for name, artifact in bundle.manifest.artifacts.items():
        found = artifact_of(bundle.artifact(name), progress)
        if found != artifact:
            raise IntegrityError(
                f"{path}: artifact {name} has digest {found.sha256}, not {artifact.sha256}",
                hint="The file was damaged or changed; build or fetch the bundle again.",
            )
    return bundle.manifest


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _fill(folder: Path, manifest: Manifest, files: Mapping[str, Path], *, link: bool) -> None:
    (folder / "sha256").mkdir()
    for name, artifact in manifest.artifacts.items():
        target = folder / "sha256" / artifact.sha256
        if not target.exists():
            _place(files[name], target, link=link)
            target.chmod(0o644)
            _sync(target)
    (folder / _MANIFEST).write_bytes(manifest.to_bytes())
    folder.chmod(0o755)
    for path in (folder / _MANIFEST, folder / "sha256", folder):
        _sync(path)


def _place(source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
            return
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
    shutil.copyfile(source, target)


def _replace(partial: Path, output: Path) -> None:
    if output.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{output.name}-old-", dir=output.parent))
        os.rename(output, old / "bundle")
        os.rename(partial, output)
        shutil.rmtree(old)
    else:
        os.rename(partial, output)
    _sync(output.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
