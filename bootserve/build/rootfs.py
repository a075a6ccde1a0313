"""The unpacked packages of an image as one tar file, made by mmdebstrap and kept between builds."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from bootserve.build.definition import Definition
from bootserve.build.packages import Package, package_names
from bootserve.build.run import build_environment, output_of, run
from bootserve.model.generation import canonical_json

__all__ = ["install_packages", "tree_key"]

# Raised whenever what is done here changes, so that a kept tree is never one of another making.
_FORMAT = 1

_WITHOUT_DOCS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/bug/*",
)


def tree_key(definition: Definition, packages: Sequence[Package], epoch: int) -> str:
    """Return the sha256 of what decides the unpacked tree: the packages' versions and options."""
    listed = [[package.name, package.version, package.arch] for package in packages]
    wanted = [_FORMAT, definition.arch, definition.docs, epoch, listed]
    return hashlib.sha256(canonical_json([*wanted, package_names(definition)])).hexdigest()


def install_packages(
    definition: Definition,
    files: Sequence[Path],
    *,
    target: Path,
    epoch: int,
    progress: Callable[[float, str], None],
) -> None:
    """Unpack and configure the packages in ``files`` into the tar file ``target``.

    mmdebstrap is given exactly these files, by HTTP on the loopback interface, since a name space
    of its own cannot read the builder's home. It runs as root, or in a user name space.

    Raises BuildFailed or StorageFull.
    """
    partial = target.with_suffix(".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    counter = _Counter(len(files), progress)
    with TemporaryDirectory(prefix="repo-", dir=target.parent) as folder:
        repository = Path(folder)
        _write_repository(repository, files)
        with _serve(repository) as url:
            argv = _command(definition, partial, f"deb [trusted=yes] {url} ./")
            environment = build_environment({"SOURCE_DATE_EPOCH": str(epoch)})
            try:
                run(argv, on_line=counter.line, env=environment)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    os.replace(partial, target)


def _command(definition: Definition, target: Path, source: str) -> list[str]:
    options = () if definition.docs else _WITHOUT_DOCS
    return [
        "mmdebstrap",
        "--verbose",
        "--variant=essential",
        "--format=tar",
        f"--architectures={definition.arch}",
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        "--skip=check/signed-by",
        "--aptopt=APT::Install-Recommends false",
        *(f"--dpkgopt={option}" for option in options),
        f"--include={','.join((*package_names(definition), 'bootserve-initramfs'))}",
        "",
        str(target),
        source,
    ]


class _Counter:
    """Tells how far an installation is by the lines that dpkg writes for each package."""

    def __init__(self, packages: int, progress: Callable[[float, str], None]) -> None:
        self._steps = 2 * packages
        self._done = 0
        self._progress = progress

    def line(self, line: str) -> None:
        """Take one line of output."""
        words = line.split(" ")
        if words[0] in ("Unpacking", "Setting") and len(words) > 2:
            self._done += 1
            package = words[2] if words[0] == "Setting" else words[1]
            self._progress(min(1.0, self._done / self._steps), package)


def _write_repository(folder: Path, files: Sequence[Path]) -> None:
    stanzas = []
    for file in files:
        # apt quotes what it finds here once more, so a name must need no quoting
        name = file.name.replace("%3a", "_")
        os.symlink(file.resolve(), folder / name)
        control = output_of(["dpkg-deb", "--field", file])
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        size = file.stat().st_size
        stanzas.append(f"{control}Filename: ./{name}\nSize: {size}\nSHA256: {digest}\n")
    (folder / "Packages").write_text("\n".join(stanzas))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


@contextmanager
def _serve(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
