"""From a tar of a root to the three artifacts, in one place that may act as root on it.

A builder who is root does this in the same process. Anyone else does it in a user name space, where
the files of the image can belong to whom they must.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bootserve.build.filelist import write_file_list
from bootserve.build.initramfs import build_initramfs, find_kernel_release
from bootserve.build.progress import Progress, ProgressCallback
from bootserve.build.run import BuildFailed, build_environment, os_failure, run
from bootserve.build.sandbox import run_script
from bootserve.build.seal import add_node_side, forget_builder, installed_packages, seal
from bootserve.build.squashfs import RootFormat, make_root_image
from bootserve.build.tree import Tree
from bootserve.errors import BootserveError, InvalidInput, StorageFull, Unavailable

__all__ = ["RootJob", "RootResult", "check_rights", "make_artifacts"]

_NAMESPACE = ("unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--")


@dataclass(frozen=True, slots=True)
class RootJob:
    """What to make: paths are absolute. ``epoch`` None means the newest time in the tar.

    ``built`` tells a root of mmdebstrap, whose host name and resolver are the builder's. ``kernel``
    names the kernel's release where there are several.
    """

    tarball: str
    node: str
    output: str
    scratch: str
    root_format: RootFormat = "squashfs"
    level: int = 15
    epoch: int | None = None
    built: bool = False
    files: str = ""
    modes: tuple[tuple[str, str], ...] = ()
    scripts: tuple[str, ...] = ()
    sources_list: str | None = None
    kernel: str = ""
    writable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RootResult:
    """What was made, beside ``kernel``, ``initrd``, ``root`` and ``files`` in the job's output."""

    kernel_release: str
    packages: dict[str, str]


def check_rights() -> None:
    """Raise Unavailable unless this user is root or may make the name space that a build needs."""
    if os.geteuid() == 0:
        return
    try:
        run([*_NAMESPACE, "true"])
    except BuildFailed as error:
        raise Unavailable(
            "this user cannot make the name space that a build needs",
            hint="Be root; or install uidmap and give the user ranges in /etc/subuid and "
            f"/etc/subgid. {error}",
        ) from None


def make_artifacts(job: RootJob, progress: ProgressCallback) -> RootResult:
    """Do ``job``, with the rights it needs; nothing of its scratch folder is left behind.

    Raises InvalidInput for what the definition or the root did wrong, BuildFailed, StorageFull,
    or Unavailable when a tool is missing.
    """
    if os.geteuid() == 0:
        return _make(job, progress)
    argv = [*_NAMESPACE, sys.executable, "-P", "-c", _CHILD, json.dumps(asdict(job))]
    answer: list[str] = []

    def on_line(line: str) -> None:
        if line.startswith("progress "):
            progress(Progress(**json.loads(line.removeprefix("progress "))))
        elif line.startswith(("result ", "error ")):
            answer.append(line)

    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        run(argv, on_line=on_line, env=build_environment(paths))
    except BuildFailed:
        if not answer:
            raise
    kind, _, text = answer[-1].partition(" ")
    if kind == "error":
        raise _error_from(json.loads(text))
    return RootResult(**json.loads(text))


_CHILD = "import sys; from bootserve.build.worker import _child; sys.exit(_child(sys.argv[1]))"


def _child(text: str) -> int:
    def tell(progress: Progress) -> None:
        print("progress", json.dumps(asdict(progress)), flush=True)

    try:
        print("result", json.dumps(asdict(_make(RootJob(**json.loads(text)), tell))))
    except BootserveError as error:
        told = {"kind": type(error).__name__, "message": str(error), "hint": error.hint}
        print("error", json.dumps(told))
        return 1
    return 0


def _error_from(told: dict[str, str]) -> BootserveError:
    kinds = {kind.__name__: kind for kind in (InvalidInput, StorageFull, Unavailable)}
    return kinds.get(told["kind"], BuildFailed)(told["message"], hint=told["hint"])


def _make(job: RootJob, progress: ProgressCallback) -> RootResult:
    scratch = Path(tempfile.mkdtemp(prefix="tree-", dir=job.scratch))
    try:
        scratch.chmod(0o755)
        return _make_in(scratch, job, progress)
    except OSError as error:
        raise os_failure(error) from None
    finally:
        shutil.rmtree(scratch)


def _make_in(tree: Path, job: RootJob, progress: ProgressCallback) -> RootResult:
    progress(Progress("unpack", 0.0))
    _extract(Path(job.tarball), tree)
    epoch = _newest(tree) if job.epoch is None else job.epoch
    progress(Progress("files", 0.0))
    if job.built:
        forget_builder(tree)
    add_node_side(tree, Path(job.node), epoch)
    if job.files:
        Tree(tree).add(Path(job.files), dict(job.modes), epoch)
    _run_scripts(tree, job, epoch, progress)
    progress(Progress("initramfs", 0.0))
    release = find_kernel_release(tree, job.kernel)
    output = Path(job.output)
    kernel = Tree(tree).target(f"boot/vmlinuz-{release}")
    (output / "kernel").write_bytes(kernel.read_bytes())
    initrd = build_initramfs(tree, release=release, node=Path(job.node))
    (output / "initrd").write_bytes(initrd)
    progress(Progress("initramfs", 1.0, f"{len(initrd) / (1 << 20):.1f} MiB"))
    progress(Progress("seal", 0.0))
    packages = installed_packages(tree)
    seal(tree, epoch=epoch, sources_list=job.sources_list, writable=job.writable)
    progress(Progress("list", 0.0))
    write_file_list(tree, output / "files")
    _make_root(tree, job, epoch, progress)
    return RootResult(release, packages)


def _make_root(tree: Path, job: RootJob, epoch: int, progress: ProgressCallback) -> None:
    make_root_image(
        tree,
        Path(job.output) / "root",
        root_format=job.root_format,
        level=job.level,
        epoch=epoch,
        progress=lambda fraction, detail: progress(Progress("root", fraction, detail)),
    )


def _run_scripts(tree: Path, job: RootJob, epoch: int, progress: ProgressCallback) -> None:
    def tell(fraction: float, line: str) -> None:
        progress(Progress("scripts", fraction, line))

    for index, script in enumerate(job.scripts):
        run_script(tree, Path(script), epoch=epoch, on_line=partial(tell, index / len(job.scripts)))


def _extract(tarball: Path, tree: Path) -> None:
    # devices are the node's own business (devtmpfs), and a user name space may not make them
    argv = ["tar", "--extract", "--file", str(tarball), "--directory", str(tree)]
    argv += ["--numeric-owner", "--preserve-permissions", "--same-owner"]
    argv += ["--xattrs", "--xattrs-include=*", "--delay-directory-restore"]
    argv += ["--anchored", "--exclude=./dev/*", "--exclude=dev/*"]
    run(argv)
    for name in ("dev", "proc", "sys", "run", "tmp", "etc", "var"):
        Tree(tree).target(name).mkdir(parents=True, exist_ok=True)


def _newest(tree: Path) -> int:
    times = (
        int(os.lstat(os.path.join(folder, name)).st_mtime)
        for folder, _, files in os.walk(tree)
        for name in files
    )
    return max(times, default=0)
