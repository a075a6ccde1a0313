"""The last revision in one file, from which a server boots nodes while its database is away."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from bootserve.errors import BootserveError, IntegrityError
from bootserve.model.desired import DesiredState, Revision
from bootserve.model.generation import (
    Generation,
    GenerationRef,
    Revocation,
    canonical_json,
    parse_manifest,
)
from bootserve.model.nbp import Nbp, NbpArch
from bootserve.store.desired_rows import TEMPORAL, state_from_rows
from bootserve.store.files import os_errors, replacing

__all__ = ["SavedState", "load_state", "save_state", "saved_revision"]

_MAGIC = b"bootserve-state-1 "
_SLICE = 200
"""Objects encoded at once: the encoder lets no other thread run meanwhile."""

# Nothing in a text is like this: there a quotation mark has a backslash before it.
_REVISION = re.compile(rb'"revision":\[([0-9]+),')


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

    Atomic and durable: after a crash the old file is there or the new one. Blocks, some 0.1 s for
    10,000 nodes, but never holds up other threads for more than a millisecond. Raises Refused,
    StorageFull or Unavailable; the old file is then still there.
    """
    digest = hashlib.sha256()
    with os_errors(f"saving the state to {path}"), replacing(path) as file:
        file.write(_head(digest.hexdigest()))
        for piece in _pieces(saved):
            digest.update(piece)
            file.write(piece)
        file.seek(0)
        file.write(_head(digest.hexdigest()))


def _head(digest: str) -> bytes:
    return _MAGIC + digest.encode() + b"\n"


def saved_revision(path: Path) -> int | None:
    """Return the number of the revision in the file at ``path``; None when there is no such file.

    Much quicker than :func:`load_state`; raises what that does.
    """
    body = _read_body(path)
    found = None if body is None else _REVISION.search(body)
    return None if found is None else int(found[1])


def load_state(path: Path) -> SavedState | None:
    """Return what :func:`save_state` wrote to ``path``, or None when there is no such file.

    Raises IntegrityError when it is not whole or has been changed, Refused or Unavailable when it
    cannot be read.
    """
    body = _read_body(path)
    if body is None:
        return None
    try:
        return _decode(json.loads(body))
    except (KeyError, TypeError, ValueError, BootserveError) as error:
        raise IntegrityError(f"the saved state in {path} cannot be read: {error}") from None


def _read_body(path: Path) -> bytes | None:
    with os_errors(f"reading the saved state in {path}"):
        try:
            with path.open("rb") as file:
                head, body = file.readline(), file.read()
        except FileNotFoundError:
            return None
    if head != _head(hashlib.sha256(body).hexdigest()):
        raise IntegrityError(
            f"the saved state in {path} is damaged",
            hint="Delete it; it is written again from the database.",
        )
    return body


def _pieces(saved: SavedState) -> Iterator[bytes]:
    """Yield the canonical JSON of ``saved`` in pieces, so that no step of it takes long."""
    yield b'{"generations":['
    yield from _list(map(_encode_generation, saved.generations.values()))
    revision = saved.revision
    told = [revision.number, revision.at, revision.author, revision.message]
    yield b'],"nbps":['
    yield from _list(dataclasses.asdict(nbp) for nbp in saved.nbps.values())
    yield b'],"revision":%b,"site_id":%b,' % (canonical_json(told), canonical_json(saved.site_id))
    yield b'"state":'
    opening = b"{"
    for t in sorted(TEMPORAL, key=lambda t: t.table.name):
        yield b"%b%b:[" % (opening, canonical_json(t.table.name))
        yield from _list(row for item in t.of(saved.state).values() for row in t.rows(item))
        yield b"]"
        opening = b","
    yield b"}}"


def _list(items: Iterable[Any]) -> Iterator[bytes]:
    """Yield the JSON of ``items``, without the brackets around it."""
    rest, separator = iter(items), b""
    while some := list(islice(rest, _SLICE)):
        yield separator + canonical_json(some)[1:-1]
        separator = b","


def _encode_generation(generation: Generation) -> dict[str, Any]:
    return {
        "number": generation.ref.number,
        "manifest": generation.manifest.to_bytes().decode(),
        "imported_at": generation.imported_at,
        "imported_by": generation.imported_by,
        "removed_at": generation.removed_at,
        "revoked": dataclasses.asdict(generation.revoked) if generation.revoked else None,
        "damaged": generation.damaged,
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
    revoked = data.get("revoked")  # versions before generations could be revoked
    return Generation(
        ref=GenerationRef(manifest.image, data["number"]),
        digest=manifest.digest,
        manifest=manifest,
        imported_at=data["imported_at"],
        imported_by=data["imported_by"],
        removed_at=data["removed_at"],
        revoked=Revocation(**revoked) if revoked else None,
        damaged=data.get("damaged", ""),  # versions before a damaged one could be told
    )
