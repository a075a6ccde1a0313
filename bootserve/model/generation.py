"""Images, generations and their manifests."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bootserve.errors import InvalidInput, ManifestError
from bootserve.model.names import Arch, check_kernel_args, check_name

__all__ = [
    "Artifact",
    "Generation",
    "GenerationRef",
    "Manifest",
    "Revocation",
    "canonical_json",
    "parse_manifest",
    "unknown_manifest",
]

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def canonical_json(value: Any) -> bytes:
    """Return the one byte string for ``value``: sorted keys, no spaces, UTF-8 (after RFC 8785).

    Numbers must be integers; that is where RFC 8785's number format and Python's agree.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


class Artifact(BaseModel):
    """A content-addressed file: its sha256 in hex and its size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: Digest
    size: int = Field(ge=0, le=1 << 40)


class Manifest(BaseModel):
    """What a generation is made of. It holds no number, time, builder or mirror.

    ``artifacts`` maps ``kernel``, ``initrd`` and ``root`` to their files, and ``files`` to the list
    of what is in the root (:mod:`bootserve.model.filelist`), which images that were imported as
    files have not, nor those of before. ``cmdline`` is the generation's own part of the kernel
    command line. ``overlay_size`` limits the tmpfs over the root, in tmpfs' own notation (``50%``
    of memory, ``512m``). ``min_memory_mib`` is what a node must have to boot it. ``writable`` lists
    the paths whose changes are expected on a running node. ``verity_root_hash`` is the dm-verity
    root hash of the root (SHA-256, 4096-byte blocks, no salt). ``definition`` is the digest of the
    definition it was built from, empty for imported files; ``packages`` maps each package in the
    root to its version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    image: str
    arch: Arch = Field(strict=False)
    artifacts: dict[str, Artifact]
    root_format: Literal["squashfs", "erofs"] = "squashfs"
    cmdline: str = ""
    kernel_release: str = ""
    overlay_size: str = Field(default="50%", pattern=r"^[1-9][0-9]{0,5}[%kmg]$")
    min_memory_mib: int = Field(default=0, ge=0, le=1 << 20)
    writable: tuple[str, ...] = Field(default=(), strict=False)
    verity_root_hash: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    definition: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    packages: dict[str, str] = {}

    @model_validator(mode="after")
    def _whole(self) -> Manifest:
        check_name(self.image, "image name")
        check_kernel_args(self.cmdline)
        if set(self.artifacts) - {"files"} != {"kernel", "initrd", "root"}:
            raise ValueError("artifacts must be kernel, initrd and root, and may be files")
        return self

    def to_bytes(self) -> bytes:
        """Return the canonical JSON whose sha256 is the generation's digest."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """The sha256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in ``data`` (JSON, at most 4 MiB).

    Raises ManifestError when it does not parse, has unknown fields or is not in canonical form,
    since its digest would then not be the digest of what was read.
    """
    if len(data) > 4 << 20:
        raise ManifestError("the manifest is larger than 4 MiB")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise ManifestError(f"the manifest is malformed at {where}: {first['msg']}") from None
    except InvalidInput as error:
        raise ManifestError(f"the manifest is malformed: {error}") from None
    if manifest.to_bytes() != data:
        raise ManifestError("the manifest is not canonical JSON", hint="Export or build it again.")
    return manifest


def unknown_manifest(image: str) -> Manifest:
    """Return what stands in a damaged generation for its manifest: no file has its digests."""
    none = Artifact(sha256="0" * 64, size=0)
    artifacts = dict.fromkeys(("kernel", "initrd", "root"), none)
    return Manifest(image=image, arch=Arch.AMD64, artifacts=artifacts)


@dataclass(frozen=True, slots=True, order=True)
class GenerationRef:
    """A generation's name: ``k8s-node@41``."""

    image: str
    number: int

    def __str__(self) -> str:
        return f"{self.image}@{self.number}"

    @classmethod
    def parse(cls, text: str) -> GenerationRef:
        """Return the reference written as ``IMAGE@N``; raises InvalidInput otherwise."""
        image, separator, number = text.strip().rpartition("@")
        if not separator or not re.fullmatch(r"[1-9][0-9]{0,8}", number):
            raise InvalidInput(
                f"{text[:80]!r} does not name a generation", hint="Write it as IMAGE@N: web@7."
            )
        return cls(check_name(image, "image name"), int(number))


@dataclass(frozen=True, slots=True)
class Revocation:
    """That no node is to be given a generation any more: when (epoch seconds), by whom and why."""

    at: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Generation:
    """One imported, immutable build of an image.

    ``imported_at`` is in seconds since the epoch; ``removed_at`` is set once its artifacts are
    gone and only its manifest is kept, ``revoked`` once it was found unfit. ``damaged`` says what
    is wrong with the manifest that is stored, in words that follow its name; ``manifest`` is then
    an :func:`unknown_manifest`, and the generation is given to nobody.
    """

    ref: GenerationRef
    digest: str
    manifest: Manifest
    imported_at: float
    imported_by: str
    removed_at: float | None = None
    revoked: Revocation | None = None
    damaged: str = ""

    @property
    def barred(self) -> str:
        """Why no node can be given it, in words that follow its name; empty when one can."""
        if self.damaged:
            return self.damaged
        if self.revoked is not None:
            return f"which was revoked ({self.revoked.reason})"
        return "" if self.removed_at is None else "whose artifacts were removed"
