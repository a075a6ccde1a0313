"""Which packages an image consists of, and their files, kept between builds.

A private apt (own lists, own empty status, this machine's proxies and credentials) resolves the
packages and downloads them with their signatures checked. Nothing of the machine's own apt is
written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bootserve.build.definition import Definition
from bootserve.build.mirror import KEYRING, Source
from bootserve.build.run import BuildFailed, build_environment, output_of, run
from bootserve.errors import InvalidInput, Unavailable
from bootserve.model.generation import canonical_json
from bootserve.model.names import Arch

__all__ = ["Package", "PackageCache", "newest_date", "package_names"]

BEFORE_MERGED_USR = frozenset({"buster", "bullseye"})
"""The releases in which a merged /usr was not yet demanded."""

_INST = re.compile(r"^Inst (\S+) \((\S+) .*\[(\S+)\]\)")
_UNKNOWN = re.compile(r"Unable to locate package (\S+)|Package '?(\S+?)'? has no installation")
_AR_HEADER = slice(8, 68)
_AR_DATE = slice(16, 28)

# apt counts itself as essential; an immutable image has no use for it
_ESSENTIAL = "?and(?essential,?not(?name(^apt$)))"

# What every image needs: the report and the initramfs use busybox, networkd finds NICs by udev.
_BASE = ("busybox-static", "kmod", "systemd", "systemd-sysv", "udev")

# The kernel's packages depend on a maker of initramfses; ours is bootserve itself.
_PROVIDER_NAME = "bootserve-initramfs"
_PROVIDER_CONTROL = f"""\
Package: {_PROVIDER_NAME}
Version: 1
Architecture: all
Maintainer: bootserve <bootserve@localhost>
Provides: linux-initramfs-tool
Description: says that bootserve makes the initramfs of this image
"""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A resolved package: its name, version and architecture (``all`` included)."""

    name: str
    version: str
    arch: str

    @property
    def file_name(self) -> str:
        """The name that apt gives to its file."""
        return f"{self.name}_{quote(self.version, safe='+~.-')}_{self.arch}.deb".replace(
            "%3A", "%3a"
        )


def package_names(definition: Definition) -> tuple[str, ...]:
    """Return what is asked of apt for ``definition``, beside the essential packages."""
    flavour = "cloud-" if definition.kernel == "cloud" else ""
    kernel = f"linux-image-{flavour}{definition.arch}"
    # without it apt takes usrmerge, which brings the whole of Perl
    merged = () if definition.distribution in BEFORE_MERGED_USR else ("usr-is-merged",)
    return tuple(dict.fromkeys((*_BASE, *merged, kernel, *definition.packages)))


def newest_date(files: Sequence[Path]) -> int:
    """Return the newest package's date, in seconds since the epoch: the builds' SOURCE_DATE_EPOCH.

    It is the time in the first member's header of the .deb (ar(5)), which dpkg-deb sets to the
    date of the newest entry of the package's changelog.

    Raises BuildFailed for a file that is no .deb.
    """
    newest = 0
    for file in files:
        with file.open("rb") as stream:
            start = stream.read(_AR_HEADER.stop)
        if not start.startswith(b"!<arch>\n") or len(start) < _AR_HEADER.stop:
            raise BuildFailed(f"{file} is not a Debian package", hint="Remove it and build again.")
        newest = max(newest, int(start[_AR_HEADER][_AR_DATE]))
    return newest


class PackageCache:
    """Package lists and files under ``folder``, for one architecture and set of sources.

    ``folder/apt-ID`` holds the lists, ``folder/debs`` the packages of all images. The
    empty package that stands for our initramfs is dated 0, so that it never is the newest.
    """

    def __init__(self, folder: Path, arch: Arch, sources: Sequence[Source]) -> None:
        if not Path(KEYRING).is_file():
            raise Unavailable(
                "Debian's archive keys are not installed",
                hint="Run: apt-get install debian-archive-keyring",
            )
        lines = [source.line() for source in sources]
        key = hashlib.sha256(canonical_json([arch, *lines])).hexdigest()[:16]
        self.debs = folder / "debs"
        self._state = folder / f"apt-{key}"
        self._provider = folder / f"{_PROVIDER_NAME}_1_all.deb"
        for path in (self._state / "lists/partial", self._state / "etc", self.debs / "partial"):
            path.mkdir(parents=True, exist_ok=True)
        (self._state / "status").write_text("")
        (self._state / "etc/sources.list").write_text("\n".join(lines) + "\n")
        (self._state / "apt.conf").write_text(_apt_conf(self._state, self.debs, arch))
        self._env = build_environment({"APT_CONFIG": str(self._state / "apt.conf")})
        self._make_provider(folder)

    def resolve(self, definition: Definition) -> list[Package]:
        """Return the packages of ``definition``, by the mirror's current index.

        When the mirror is away the lists of the last time serve.

        Raises InvalidInput for a package that does not exist, Unavailable when there are no lists,
        BuildFailed when the packages cannot be installed together.
        """
        run(["apt-get", "update", "-q"], env=self._env)
        if not any((self._state / "lists").glob("*_Packages*")):
            raise Unavailable(
                "the mirror cannot be reached and no package lists are cached",
                hint="Check the network, or name another mirror in image.toml.",
            )
        wanted = [_ESSENTIAL, *package_names(definition), str(self._provider)]
        try:
            said = output_of(["apt-get", "install", "--simulate", *wanted], env=self._env)
        except BuildFailed as error:
            raise _resolution_error(definition, error) from None
        found = (_INST.match(line) for line in said.splitlines())
        return sorted(Package(m[1], m[2], m[3]) for m in found if m)

    def fetch(self, packages: Sequence[Package], progress: Callable[[float, str], None]) -> None:
        """Download those of ``packages`` that are not here yet; ``progress`` gets (fraction, word).

        Raises Unavailable when the mirror cannot give them.
        """
        real = [package for package in packages if package.name != _PROVIDER_NAME]
        missing = [package for package in real if not (self.debs / package.file_name).is_file()]
        if not missing:
            return
        done = 0

        def on_line(line: str) -> None:
            nonlocal done
            if line.startswith("Get:"):
                done += 1
                progress(min(1.0, done / len(missing)), line.split(" ")[4:5][0] if done else "")

        names = [f"{package.name}={package.version}" for package in missing]
        argv = ["apt-get", "download", "-q", "-o", "Acquire::Retries=3", *names]
        try:
            run(argv, on_line=on_line, env=self._env, cwd=self.debs)
        except BuildFailed as error:
            raise Unavailable("packages could not be downloaded", hint=str(error)) from None

    def files(self, packages: Sequence[Package]) -> list[Path]:
        """Return the files of ``packages``, fetched before."""
        return [
            self._provider if package.name == _PROVIDER_NAME else self.debs / package.file_name
            for package in packages
        ]

    def _make_provider(self, folder: Path) -> None:
        tree = folder / f"{_PROVIDER_NAME}.tree"
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (tree / "DEBIAN/control").write_text(_PROVIDER_CONTROL)
        argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(self._provider)]
        run(argv, env=build_environment({"SOURCE_DATE_EPOCH": "0"}))


def _resolution_error(definition: Definition, error: BuildFailed) -> Exception:
    match = _UNKNOWN.search(str(error))
    if match is None:
        return error
    name = match[1] or match[2]
    return InvalidInput(
        f"image.toml: packages: {definition.distribution} has no package {name!r}",
        hint="Correct its name, or the distribution.",
    )


def _apt_conf(state: Path, debs: Path, arch: Arch) -> str:
    kept = output_of(["apt-config", "dump"]).splitlines()
    proxies = [line for line in kept if re.match(r"Acquire::(http|https|ftp)::", line)]
    settings = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Cache::archives": debs,
        "Dir::Etc::sourcelist": state / "etc/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "true",
    }
    return "\n".join([*proxies, *(f'{key} "{value}";' for key, value in settings.items()), ""])
