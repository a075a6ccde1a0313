"""How a generation is shown."""

from __future__ import annotations

from bootserve.cli.output import Output, human_size, local_time
from bootserve.core.resolve import REPAIR
from bootserve.errors import IntegrityError
from bootserve.model.generation import Manifest, canonical_json, parse_manifest
from bootserve.servers.admin.schemas_seen import GenerationOut

__all__ = ["manifest_of", "render_generation"]


def manifest_of(shown: GenerationOut) -> Manifest:
    """Return the manifest of an answer; raises IntegrityError when its digest is another.

    Also when it is damaged where it is stored.
    """
    if shown.damaged:
        raise IntegrityError(f"{shown.name}, {shown.damaged}", hint=REPAIR)
    manifest = parse_manifest(canonical_json(shown.manifest))
    if manifest.digest != shown.digest:
        raise IntegrityError(f"the manifest of {shown.name} has not the digest {shown.digest}")
    return manifest


def render_generation(out: Output, shown: GenerationOut, *, packages: bool) -> None:
    """Print what a generation is made of and what uses it, with ``packages`` its packages too."""
    manifest = manifest_of(shown)
    rows: list[tuple[str, str]] = [
        ("Generation", shown.name),
        ("Digest", shown.digest),
        ("Architecture", shown.arch),
        ("Imported", f"{local_time(shown.imported_at)} by {shown.imported_by}"),
        ("Revoked", _revoked(shown)),
        ("Removed", local_time(shown.removed_at)),
        *(
            (name.capitalize(), f"{artifact.sha256}, {human_size(artifact.size)}")
            for name, artifact in sorted(manifest.artifacts.items())
        ),
        ("Root format", manifest.root_format),
        ("Verity root hash", manifest.verity_root_hash),
        ("Kernel release", manifest.kernel_release),
        ("Kernel arguments", manifest.cmdline),
        ("Overlay", manifest.overlay_size),
        ("Least memory", f"{manifest.min_memory_mib} MiB" if manifest.min_memory_mib else ""),
        ("Writable", "\n".join(manifest.writable)),
        ("Definition", manifest.definition or "none: imported files"),
        ("Packages", str(len(manifest.packages)) if manifest.packages else ""),
        ("Used by", "\n".join(shown.used_by) or "nothing"),
    ]
    out.pairs([(name, value) for name, value in rows if value])
    if packages:
        out.line("")
        out.table(["PACKAGE", "VERSION"], sorted(manifest.packages.items()))


def _revoked(shown: GenerationOut) -> str:
    found = shown.revoked
    return f"{local_time(found.at)} by {found.by}: {found.reason}" if found else ""
