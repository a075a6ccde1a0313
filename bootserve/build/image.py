"""Build an image from its definition: the way from a folder to a bundle."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bootserve.build.bundle import artifact_of, check_output, write_bundle
from bootserve.build.definition import LoadedDefinition, load_definition
from bootserve.build.mirror import host_targets, sources_for
from bootserve.build.nodefiles import node_files
from bootserve.build.packages import PackageCache, newest_date
from bootserve.build.progress import Progress, ProgressCallback, quiet
from bootserve.build.rootfs import install_packages, tree_key
from bootserve.build.run import os_failure
from bootserve.build.verity import verity_root_hash
from bootserve.build.worker import RootJob, RootResult, check_rights, make_artifacts
from bootserve.errors import Unavailable
from bootserve.model.generation import Artifact, Manifest

__all__ = ["build_image", "default_cache_dir", "describe_artifacts", "scratch_folder"]

_KEPT_TREES = 4
_KEY = re.compile(r"[0-9a-f]{64}\.tar")


def default_cache_dir() -> Path:
    """Return where packages and unpacked trees are kept: ``$XDG_CACHE_HOME/bootserve``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bootserve"


def build_image(
    definition_dir: Path,
    *,
    output: Path,
    cache_dir: Path | None = None,
    progress: ProgressCallback = quiet,
    fresh: bool = False,
) -> Manifest:
    """Build the definition in ``definition_dir`` into a bundle at ``output``; return its manifest.

    Downloaded packages and unpacked trees are kept in ``cache_dir``; ``fresh`` unpacks anew. The
    same definition from the same package versions and tools gives the same digest.

    Raises InvalidInput for a bad definition, Unavailable when a tool or the mirror is missing,
    BuildFailed when a tool fails, StorageFull, Conflict when ``output`` is something else.
    """
    cache = (default_cache_dir() if cache_dir is None else cache_dir).resolve()
    progress(Progress("definition", 0.0, str(definition_dir)))
    check_output(output)
    check_rights()
    node = node_files()
    loaded = load_definition(definition_dir.resolve(), node_files=node)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with scratch_folder(cache) as (made, scratch):
            with _only_one(cache):
                tarball, epoch = _unpacked(loaded, cache, progress, fresh=fresh)
            job = _job(loaded, tarball, epoch, node=node, made=made, scratch=scratch)
            result = make_artifacts(job, progress)
            files = {name: made / name for name in ("kernel", "initrd", "root", "files")}
            manifest = _manifest(loaded, result, files, progress)
            progress(Progress("bundle", 0.0))
            write_bundle(output, manifest, files, link=True)
    except OSError as error:
        raise os_failure(error) from None
    progress(Progress("bundle", 1.0, manifest.digest))
    return manifest


@contextmanager
def _only_one(cache: Path) -> Iterator[None]:
    """Wait until no other build writes to the package cache, and keep others waiting.

    What a build that was killed has left there goes.
    """
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob("trees/repo-*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in cache.glob("trees/*.partial"):
            left.unlink()
        yield


@contextmanager
def scratch_folder(cache: Path) -> Iterator[tuple[Path, Path]]:
    """Give a folder for artifacts and one for trees, in ``cache``, and remove them at the end.

    What a build that was killed has left goes too.
    """
    for left in cache.glob("build-*-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f"build-{os.getpid()}-", dir=cache))
    try:
        made, scratch = work / "made", work / "trees"
        made.mkdir()
        scratch.mkdir()
        yield made, scratch
    finally:
        shutil.rmtree(work, ignore_errors=True)


def describe_artifacts(
    files: Mapping[str, Path], progress: ProgressCallback
) -> tuple[dict[str, Artifact], str]:
    """Return the artifacts that ``files`` (by name) are, and the verity root hash of the root."""

    def tell(stage: str, fraction: float, detail: str) -> None:
        progress(Progress(stage, fraction, detail))

    verity = verity_root_hash(files["root"], partial(tell, "verity"))
    return {name: artifact_of(file) for name, file in files.items()}, verity


def _unpacked(
    loaded: LoadedDefinition, cache: Path, progress: ProgressCallback, *, fresh: bool
) -> tuple[Path, int]:
    definition = loaded.definition
    progress(Progress("resolve", 0.0))
    packages = PackageCache(cache, definition.arch, sources_for(definition, host_targets()))
    resolved = packages.resolve(definition)
    progress(Progress("resolve", 1.0, f"{len(resolved)} packages"))

    def tell(stage: str, fraction: float, detail: str) -> None:
        progress(Progress(stage, fraction, detail))

    packages.fetch(resolved, partial(tell, "download"))
    files = packages.files(resolved)
    epoch = newest_date(files)
    if time.time() < epoch:
        raise Unavailable(
            "this machine's clock is behind the packages' dates", hint="Set the clock."
        )
    tarball = cache / "trees" / f"{tree_key(definition, resolved, epoch)}.tar"
    if fresh or not tarball.is_file():
        told = partial(tell, "install")
        install_packages(definition, files, target=tarball, epoch=epoch, progress=told)
    os.utime(tarball)
    _prune(tarball.parent)
    return tarball, epoch


def _prune(trees: Path) -> None:
    """Keep the trees used last; a tree is quickly made again from the kept packages."""
    kept = [path for path in trees.iterdir() if _KEY.fullmatch(path.name)]
    for path in sorted(kept, key=lambda tar: tar.stat().st_mtime)[:-_KEPT_TREES]:
        path.unlink(missing_ok=True)


def _job(
    loaded: LoadedDefinition, tarball: Path, epoch: int, *, node: Path, made: Path, scratch: Path
) -> RootJob:
    definition = loaded.definition
    return RootJob(
        tarball=str(tarball),
        node=str(node),
        output=str(made),
        scratch=str(scratch),
        root_format=definition.root_format,
        level=definition.compression_level,
        epoch=epoch,
        built=True,
        files=str(loaded.files or ""),
        modes=tuple(sorted(definition.modes.items())),
        scripts=tuple(str(loaded.path / script) for script in definition.scripts),
        sources_list=definition.sources_list,
        writable=definition.writable,
    )


def _manifest(
    loaded: LoadedDefinition,
    result: RootResult,
    files: Mapping[str, Path],
    progress: ProgressCallback,
) -> Manifest:
    definition = loaded.definition
    artifacts, verity = describe_artifacts(files, progress)
    return Manifest(
        image=definition.name,
        arch=definition.arch,
        artifacts=artifacts,
        root_format=definition.root_format,
        cmdline=definition.cmdline,
        kernel_release=result.kernel_release,
        overlay_size=definition.overlay_size,
        min_memory_mib=definition.min_memory_mib,
        writable=definition.writable,
        verity_root_hash=verity,
        definition=loaded.digest,
        packages=result.packages,
    )
