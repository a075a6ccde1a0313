"""An image's definition: ``image.toml`` and the files beside it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bootserve.errors import InvalidInput
from bootserve.model.generation import canonical_json
from bootserve.model.names import Arch, check_kernel_args, check_name

__all__ = [
    "DEFINITION_FILE",
    "Definition",
    "LoadedDefinition",
    "load_definition",
    "tree_entries",
]

DEFINITION_FILE = "image.toml"

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_URL = re.compile(r"(https?|file|copy)://\S+")
_MODE = re.compile(r"[0-7]{3,4}")

PackageName = Annotated[str, Field(pattern=rf"^{_PACKAGE.pattern}$")]


class Definition(BaseModel):
    """What ``image.toml`` says.

    ``name`` is the image's name. ``packages`` are installed without their Recommends. ``kernel`` is
    ``generic`` (drivers of real servers' NICs; their firmware and the processors' microcode are
    packages to name) or ``cloud`` (virtual machines only). ``mirror`` and ``security_mirror`` are
    URLs of Debian archives; without them the building machine's own are used, and none is ever
    written into the image. ``sources_list`` is the text of the image's ``/etc/apt/sources.list``;
    without it the image has none. ``scripts`` run in the root, in order, without network. ``modes``
    gives files of ``files/`` a mode (octal, by path) other than 0644, or 0755 when executable.
    ``docs`` keeps manual pages, translations and documentation. ``compression_level`` is zstd's for
    squashfs and lz4hc's for erofs. ``cmdline``, ``writable``, ``overlay_size``, ``min_memory_mib``
    and ``root_format`` become the manifest's fields of the same names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    distribution: str = Field(pattern=r"^[a-z][a-z0-9-]{1,30}$")
    arch: Arch = Field(default=Arch.AMD64, strict=False)
    mirror: str | None = None
    security_mirror: str | None = None
    sources_list: str | None = None
    packages: tuple[PackageName, ...] = Field(strict=False)
    kernel: Literal["generic", "cloud"]
    scripts: tuple[str, ...] = Field(default=(), strict=False)
    modes: dict[str, str] = {}
    docs: bool = False
    root_format: Literal["squashfs", "erofs"] = "squashfs"
    compression_level: int = Field(default=15, ge=1, le=22)
    cmdline: str = ""
    writable: tuple[str, ...] = Field(default=(), strict=False)
    overlay_size: str = Field(default="50%", pattern=r"^[1-9][0-9]{0,5}[%kmg]$")
    min_memory_mib: int = Field(default=0, ge=0, le=1 << 20)

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return check_name(value, "image name")

    @field_validator("cmdline")
    @classmethod
    def _cmdline(cls, value: str) -> str:
        return check_kernel_args(value)

    @field_validator("mirror", "security_mirror")
    @classmethod
    def _mirror(cls, value: str | None) -> str | None:
        if value is not None and not _URL.fullmatch(value):
            raise ValueError("must be a URL: http://mirror.example/debian")
        return value

    @field_validator("writable")
    @classmethod
    def _writable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            if not path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"{path!r} must be an absolute path without '..'")
        return value

    @field_validator("modes")
    @classmethod
    def _modes(cls, value: dict[str, str]) -> dict[str, str]:
        for path, mode in value.items():
            if not _MODE.fullmatch(mode):
                raise ValueError(f'{path}: {mode!r} must be an octal mode: "0600"')
        return {path.strip("/"): mode for path, mode in value.items()}


@dataclass(frozen=True, slots=True)
class LoadedDefinition:
    """A definition with the folder it was read from and the digest of everything it consists of."""

    path: Path
    definition: Definition
    digest: str

    @property
    def files(self) -> Path | None:
        """The tree that is copied onto the root, when there is one."""
        tree = self.path / "files"
        return tree if tree.is_dir() else None


def load_definition(folder: Path, *, node_files: Path | None = None) -> LoadedDefinition:
    """Read and check the definition in ``folder``.

    The digest is the sha256 over every file of the folder and, when given, of ``node_files``:
    paths, kinds, executable bits and contents, and nothing that depends on where the folder is.

    Raises InvalidInput that names the file, the field and what to do.
    """
    file = folder / DEFINITION_FILE
    definition = _parse(file)
    _check_scripts(folder, definition)
    _check_files(folder, definition)
    trees = {"definition": list(tree_entries(folder))}
    if node_files is not None:
        # a wheel does not keep executable bits
        trees["node"] = [[name, digest] for name, _kind, digest in tree_entries(node_files)]
    digest = hashlib.sha256(canonical_json(trees)).hexdigest()
    return LoadedDefinition(folder, definition, digest)


def tree_entries(folder: Path) -> Iterator[list[str]]:
    """Yield ``[path, kind, digest]`` of everything under ``folder``, sorted by path.

    The kind is ``file``, ``executable``, ``link`` or ``directory``; the digest is the sha256 of a
    file's content, a link's target, or empty. Raises InvalidInput for a device, socket or FIFO.
    """
    for path in sorted(folder.rglob("*"), key=lambda found: found.relative_to(folder).parts):
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield [name, "link", os.readlink(path)]
        elif stat.S_ISDIR(mode):
            yield [name, "directory", ""]
        elif stat.S_ISREG(mode):
            kind = "executable" if mode & 0o111 else "file"
            yield [name, kind, hashlib.sha256(path.read_bytes()).hexdigest()]
        else:
            raise InvalidInput(f"{path} is neither a file, a directory nor a link")


def _parse(file: Path) -> Definition:
    try:
        data: dict[str, Any] = tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise InvalidInput(
            f"{file.parent} holds no {DEFINITION_FILE}",
            hint="Name the folder of a definition: images/debian-base.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{file} is not TOML: {error}") from None
    try:
        return Definition.model_validate(data)
    except ValidationError as error:
        raise _explain(file, error) from None
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}", hint=error.hint) from None


def _explain(file: Path, error: ValidationError) -> InvalidInput:
    found = error.errors(include_url=False)
    # a misspelt field is also a missing one: the spelling is the cause
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    field = ".".join(str(part) for part in first["loc"]) or "the whole"
    message, hint = first["msg"].removeprefix("Value error, "), ""
    match first["type"]:
        case "extra_forbidden":
            message = "there is no such field"
            hint = "The fields are: " + ", ".join(Definition.model_fields) + "."
        case "missing":
            message = "this field is missing"
            hint = f"Add `{field} = …`; docs/images.md describes it."
        case _:
            hint = f"Correct `{field}`, now {str(first.get('input'))[:60]!r}."
    return InvalidInput(f"{file}: {field}: {message}", hint=hint)


def _check_scripts(folder: Path, definition: Definition) -> None:
    for script in definition.scripts:
        path = folder / script
        if ".." in Path(script).parts or Path(script).is_absolute() or not path.is_file():
            raise InvalidInput(
                f"{folder / DEFINITION_FILE}: scripts: {script!r} is no file of this folder",
                hint="Give paths relative to the definition: scripts/10-services.",
            )
        if not path.stat().st_mode & 0o111 or not path.read_bytes().startswith(b"#!"):
            raise InvalidInput(
                f"{folder / DEFINITION_FILE}: scripts: {script!r} cannot be run",
                hint="Start it with '#!/bin/sh -e' and make it executable (chmod +x).",
            )


def _check_files(folder: Path, definition: Definition) -> None:
    tree = folder / "files"
    for path in definition.modes:
        if ".." in Path(path).parts or (tree / path).is_symlink() or not (tree / path).exists():
            raise InvalidInput(
                f"{folder / DEFINITION_FILE}: modes: files/{path} does not exist",
                hint="Give paths as they are below files/: etc/sudoers.d/admin.",
            )
    for found in tree.rglob("*") if tree.is_dir() else ():
        mode = found.lstat().st_mode
        name = found.relative_to(tree).as_posix()
        # git keeps no mode but the executable bit: a private file must not turn public by a clone
        if stat.S_ISREG(mode) and not mode & 0o044 and name not in definition.modes:
            raise InvalidInput(
                f"{found} is private (mode {stat.S_IMODE(mode):04o}) and would become readable",
                hint=f'Say so in {DEFINITION_FILE}: [modes] "{name}" = "0600".',
            )
