"""Bundles from what was built elsewhere: three files, or the tarball of a root."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack

from pydantic import ValidationError

from bootserve.build.bundle import check_output, write_bundle
from bootserve.build.image import default_cache_dir, describe_artifacts, scratch_folder
from bootserve.build.nodefiles import node_files
from bootserve.build.progress import Progress, ProgressCallback, quiet
from bootserve.build.run import os_failure
from bootserve.build.squashfs import RootFormat, detect_root_format
from bootserve.build.worker import RootJob, RootResult, check_rights, make_artifacts
from bootserve.errors import InvalidInput
from bootserve.model.generation import Artifact, Manifest
from bootserve.model.names import Arch

__all__ = ["About", "import_files", "import_tarball"]

_BLOCK = 4096
# Documentation/x86/boot.rst, "The Real-Mode Kernel Header"; Documentation/arm64/booting.rst
_KERNEL_MAGIC = {
    Arch.AMD64: (0x202, b"HdrS"),
    Arch.I386: (0x202, b"HdrS"),
    Arch.ARM64: (56, b"ARMd"),
}


class About(TypedDict, total=False):
    """What a manifest says beside its artifacts; the fields are those of Manifest.

    ``kernel_release`` chooses among several kernels of a tarball; for files it is only recorded.
    """

    arch: Arch
    cmdline: str
    kernel_release: str
    overlay_size: str
    min_memory_mib: int
    writable: tuple[str, ...]


def import_files(
    image: str,
    *,
    kernel: Path,
    initrd: Path,
    root: Path,
    output: Path,
    progress: ProgressCallback = quiet,
    **about: Unpack[About],
) -> Manifest:
    """Make a bundle of ``image`` at ``output`` from a kernel, an initrd and a root image.

    Nothing in the files is changed. To report its phases and verify its root, the initrd must do
    what ours does (docs/images.md).

    Raises InvalidInput for a kernel of another architecture, a root that is neither file system or
    no whole number of 4096-byte blocks, or bad values; Conflict, StorageFull as write_bundle does.
    """
    check_output(output)
    given = {"kernel": kernel, "initrd": initrd, "root": root}
    for name, path in given.items():
        if not path.is_file() or path.stat().st_size == 0:
            raise InvalidInput(f"{name}: {path} is no file, or an empty one")
    fields = _fields(image, about)
    _check_kernel(kernel, fields.arch)
    root_format = detect_root_format(root)
    if root.stat().st_size % _BLOCK:
        raise InvalidInput(
            f"{root} is no whole number of {_BLOCK}-byte blocks, so no device can hold it",
            hint=f"Run: truncate -s %{_BLOCK} {root.name}",
        )
    manifest = _manifest(fields, given, root_format, progress)
    write_bundle(output, manifest, given)
    progress(Progress("bundle", 1.0, manifest.digest))
    return manifest


def import_tarball(
    image: str,
    *,
    tarball: Path,
    output: Path,
    root_format: RootFormat = "squashfs",
    compression_level: int = 15,
    cache_dir: Path | None = None,
    progress: ProgressCallback = quiet,
    **about: Unpack[About],
) -> Manifest:
    """Make a bundle of ``image`` at ``output`` from the tarball of a root with kernel and modules.

    The root gets the node-side files, loses what belongs to one machine (machine-id, ssh host keys,
    logs) and is packed; the kernel is its own and the initramfs ours, made of its busybox and
    modules.

    Raises InvalidInput for a tarball that lacks what is needed, else what build_image raises.
    """
    check_output(output)
    check_rights()
    if not tarball.is_file():
        raise InvalidInput(f"{tarball} is no file")
    fields = _fields(image, about)
    cache = (default_cache_dir() if cache_dir is None else cache_dir).resolve()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with scratch_folder(cache) as (made, scratch):
            job = RootJob(
                tarball=str(tarball.resolve()),
                node=str(node_files()),
                output=str(made),
                scratch=str(scratch),
                root_format=root_format,
                level=compression_level,
                kernel=fields.kernel_release,
                writable=fields.writable,
            )
            result = make_artifacts(job, progress)
            _check_kernel(made / "kernel", fields.arch)
            files = {name: made / name for name in ("kernel", "initrd", "root", "files")}
            manifest = _manifest(fields, files, root_format, progress, result)
            write_bundle(output, manifest, files, link=True)
    except OSError as error:
        raise os_failure(error) from None
    progress(Progress("bundle", 1.0, manifest.digest))
    return manifest


def _fields(image: str, about: About) -> Manifest:
    """Return ``about`` as a manifest with empty artifacts; raises InvalidInput for bad values."""
    nothing = Artifact(sha256=hashlib.sha256().hexdigest(), size=0)
    artifacts = dict.fromkeys(("kernel", "initrd", "root"), nothing)
    fields: dict[str, Any] = {"image": image, "arch": Arch.AMD64, "artifacts": artifacts, **about}
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _manifest(
    fields: Manifest,
    files: Mapping[str, Path],
    root_format: RootFormat,
    progress: ProgressCallback,
    result: RootResult | None = None,
) -> Manifest:
    artifacts, verity = describe_artifacts(files, progress)
    found: dict[str, Any] = {}
    if result is not None:
        found = {"kernel_release": result.kernel_release, "packages": result.packages}
    found |= {"artifacts": artifacts, "root_format": root_format, "verity_root_hash": verity}
    return fields.model_copy(update=found)


def _check_kernel(kernel: Path, arch: Arch) -> None:
    offset, magic = _KERNEL_MAGIC[arch]
    with kernel.open("rb") as stream:
        start = stream.read(offset + len(magic))
    if start[offset:] != magic:
        raise InvalidInput(
            f"{kernel.name} is no Linux kernel image for {arch}",
            hint="Give the file that Debian names /boot/vmlinuz-RELEASE, of this architecture.",
        )
