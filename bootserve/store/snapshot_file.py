"""The last revision in one file, from which a server boots nodes while its database is away."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootserve.errors import BootserveError, IntegrityError
from bootserve.model.desired import DesiredState, Revision
from bootserve.model.generation import Generation, GenerationRef, canonical_json, parse_manifest
from bootserve.model.nbp import Nbp, NbpArch
from bootserve.store.desired_rows import TEMPORAL, state_from_rows
from bootserve.store.files import os_errors, write_atomic

__all__ = ["SavedState", "load_state", "save_state"]

_MAGIC = b"bootserve-state-1 "


@dataclass(frozen=True, slots=True)
class SavedState:
    """A revision, its state, the generations and NBPs known with it, the site's random name."""

    revision: Revision
    state: DesiredState
    generations: Mapping[GenerationRef, Generation]
    site_id: str
    nbps: Mapping[str, Nbp] = field(default_factory=dict)


def save_state(path: Path, saved: SavedState) -> None:
    """Write ``saved`` to ``path``: a line with the sha256 of the rest, then canonical JSON.

    Atomic and durable: after a crash the old file is there or the new one. Blocks, some 0.2 s for
    10,000 nodes. Raises Refused, StorageFull or Unavailable; the old file is then still there.
    """
    body = canonical_json(_encode(saved))
    head = _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n"
    with os_errors(f"saving the state to {path}"):
        write_atomic(path, head + body)


def load_state(path: Path) -> SavedState | None:
    """Return what :func:`save_state` wrote to ``path``, or None when there is no such file.

    Raises IntegrityError when it is not whole or has been changed, Refused or Unavailable when it
    cannot be read.
    """
    with os_errors(f"reading the saved state in {path}"):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
    head, _, body = data.partition(b"\n")
    if head != _MAGIC + hashlib.sha256(body).hexdigest().encode():
        raise IntegrityError(
            f"the saved state in {path} is damaged",
            hint="Delete it; it is written again from the database.",
        )
    try:
        return _decode(json.loads(body))
    except (KeyError, TypeError, ValueError, BootserveError) as error:
        raise IntegrityError(f"the saved state in {path} cannot be read: {error}") from None


def _encode(saved: SavedState) -> dict[str, Any]:
    rows = {
        t.table.name: [row for item in t.of(saved.state).values() for row in t.rows(item)]
        for t in TEMPORAL
    }
    revision = saved.revision
    return {
        "generations": [_encode_generation(item) for item in saved.generations.values()],
        "nbps": [dataclasses.asdict(nbp) for nbp in saved.nbps.values()],
        "revision": [revision.number, revision.at, revision.author, revision.message],
        "site_id": saved.site_id,
        "state": rows,
    }


def _encode_generation(generation: Generation) -> dict[str, Any]:
    return {
        "number": generation.ref.number,
        "manifest": generation.manifest.to_bytes().decode(),
        "imported_at": generation.imported_at,
        "imported_by": generation.imported_by,
        "removed_at": generation.removed_at,
    }


def _decode(data: dict[str, Any]) -> SavedState:
    generations = [_decode_generation(item) for item in data["generations"]]
    return SavedState(
        revision=Revision(*data["revision"]),
        state=state_from_rows(data["state"]),
        generations={generation.ref: generation for generation in generations},
        site_id=data["site_id"],
        nbps={one["name"]: Nbp(**one | {"arch": NbpArch(one["arch"])}) for one in _nbps(data)},
    )


def _nbps(data: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = data.get("nbps", [])  # versions before NBPs could be added
    return found


def _decode_generation(data: dict[str, Any]) -> Generation:
    manifest = parse_manifest(data["manifest"].encode())
    return Generation(
        ref=GenerationRef(manifest.image, data["number"]),
        digest=manifest.digest,
        manifest=manifest,
        imported_at=data["imported_at"],
        imported_by=data["imported_by"],
        removed_at=data["removed_at"],
    )
