"""Generations: their numbers, their manifests, and who uses them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from bootserve.errors import Conflict, ManifestError, NotFound
from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.model.desired import Scope, ScopeKind
from bootserve.model.generation import (
    Generation,
    GenerationRef,
    Manifest,
    Revocation,
    parse_manifest,
    unknown_manifest,
)
from bootserve.model.once import OnceOutcome
from bootserve.store import tables
from bootserve.store.audit import append_changes
from bootserve.store.database import Database
from bootserve.store.desired import latest_revision
from bootserve.store.rollouts import unfinished

__all__ = ["KEPT_REVISIONS", "KEPT_SECONDS", "GenerationStore", "unneeded"]

KEPT_REVISIONS = 10
"""A generation that a pin of one of so many last revisions names cannot be removed."""

KEPT_SECONDS = 3600.0
"""Nor can one that a node booted so recently: the node may still be fetching it."""

_T = tables.generation


class GenerationStore:
    """Generations by image and number. Its methods block: use it in the database's thread.

    One whose manifest has changed in the database is read as a damaged one: no node is given it,
    and the others stay of use. Every method raises Unavailable when the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, manifest: Manifest, *, at: float, by: str) -> tuple[Generation, bool]:
        """Return the generation that ``manifest`` is, and whether it is a new one.

        A digest that is known keeps its number; if its generation was removed it is one again,
        since its artifacts have just been imported, and if its manifest was damaged it is whole
        again. Otherwise it gets the number after the highest
        that its image ever had. ``at`` is in seconds since the epoch; its artifacts must be in the
        artifact store before.
        """
        with self._database.write() as connection:
            known = _by_digest(connection, manifest.digest)
            if known is not None and (known.removed_at is not None or known.damaged):
                append_changes(connection, _imported(known.ref, manifest, at, by, again=True))
            if known is not None:
                same = update(_T).where(_T.c.digest == manifest.digest)
                connection.execute(same.values(manifest=manifest.to_bytes(), removed_at=None))
                return _get(connection, known.ref), False
            highest = select(func.max(_T.c.number)).where(_T.c.image == manifest.image)
            number = (connection.execute(highest).scalar() or 0) + 1
            connection.execute(
                insert(_T).values(
                    image=manifest.image,
                    number=number,
                    digest=manifest.digest,
                    manifest=manifest.to_bytes(),
                    imported_at=at,
                    imported_by=by,
                )
            )
            ref = GenerationRef(manifest.image, number)
            append_changes(connection, _imported(ref, manifest, at, by))
            return _get(connection, ref), True

    def get(self, ref: GenerationRef) -> Generation:
        """Return a generation, a removed one too; raises NotFound."""
        with self._database.read() as connection:
            return _get(connection, ref)

    def by_digest(self, digest: str) -> Generation | None:
        """Return the generation whose manifest has ``digest``, a removed one too, or None."""
        with self._database.read() as connection:
            return _by_digest(connection, digest)

    def list(
        self, image: str | None = None, *, include_removed: bool = False
    ) -> Sequence[Generation]:
        """Return the generations of ``image``, or of all images, by image and number."""
        query = select(_T).order_by(_T.c.image, _T.c.number)
        if image is not None:
            query = query.where(_T.c.image == image)
        if not include_removed:
            query = query.where(_T.c.removed_at.is_(None))
        with self._database.read() as connection:
            return [_generation(row) for row in connection.execute(query)]

    def users(self, ref: GenerationRef, now: float) -> Sequence[str]:
        """Return why ``ref`` cannot be removed at ``now`` (epoch seconds), a line a reason.

        Empty when nothing uses it. Boots that are still in the journal do not count: apply them
        first. Raises NotFound.
        """
        with self._database.read() as connection:
            _get(connection, ref)
            return _users(connection, ref, now)

    def remove(self, ref: GenerationRef, *, at: float, by: str = "") -> Sequence[str]:
        """Mark ``ref`` as removed and return the digests of artifacts that nothing needs any more.

        Its manifest and number are kept. Removing a removed one has no effect but to name its
        artifacts again, so that a deletion that was interrupted can be finished. ``at`` is in
        seconds since the epoch, ``by`` who removes it. Raises NotFound, and Conflict when it is in
        use, saying by what.
        """
        with self._database.write() as connection:
            generation = _get(connection, ref)
            used = _users(connection, ref, at)
            if used:
                raise Conflict(
                    f"{ref} is in use: {'; '.join(used)}",
                    hint="Pin another generation there, or wait until it is out of use.",
                )
            if generation.removed_at is None:
                match = (_T.c.image == ref.image, _T.c.number == ref.number)
                connection.execute(update(_T).where(*match).values(removed_at=at))
                detail = {"generation": str(ref), "digest": generation.digest}
                append_changes(connection, AuditEntry(AuditKind.REMOVE, at, by, detail=detail))
            return unneeded(connection, _digests(generation))

    def revoke(self, ref: GenerationRef, *, at: float, by: str, reason: str) -> None:
        """Have no node given ``ref`` any more; a revoked one only gets another reason.

        Raises NotFound, and Conflict while a pin, a rollout or a node's next boot names it.
        """
        with self._database.write() as connection:
            _get(connection, ref)
            used = [*_pinned(connection, ref), *_to_come(connection, ref)]
            if used:
                raise Conflict(
                    f"{ref} is in use: {'; '.join(used)}",
                    hint="Pin another generation there first.",
                )
            _set_revoked(connection, ref, Revocation(at, by, reason))
            append_changes(connection, _revoked(ref, at, by, reason, revoked=True))

    def unrevoke(self, ref: GenerationRef, *, at: float, by: str, reason: str) -> None:
        """Let nodes be given ``ref`` again; raises NotFound, and Conflict unless it is revoked."""
        with self._database.write() as connection:
            if _get(connection, ref).revoked is None:
                raise Conflict(f"{ref} is not revoked")
            _set_revoked(connection, ref, None)
            append_changes(connection, _revoked(ref, at, by, reason, revoked=False))

    def unneeded(self, digests: Collection[str]) -> Sequence[str]:
        """Return those of ``digests`` that no generation or NBP needs, sorted."""
        with self._database.read() as connection:
            return unneeded(connection, digests)


def _imported(
    ref: GenerationRef, manifest: Manifest, at: float, by: str, *, again: bool = False
) -> AuditEntry:
    detail = {"generation": str(ref), "digest": manifest.digest, "again": again}
    return AuditEntry(AuditKind.IMPORT, at, by, detail=detail)


def _revoked(ref: GenerationRef, at: float, by: str, reason: str, *, revoked: bool) -> AuditEntry:
    detail = {"generation": str(ref), "revoked": revoked}
    return AuditEntry(AuditKind.REVOKE, at, by, reason, detail=detail)


def _set_revoked(connection: Connection, ref: GenerationRef, found: Revocation | None) -> None:
    connection.execute(
        update(_T)
        .where(_T.c.image == ref.image, _T.c.number == ref.number)
        .values(
            revoked_at=found.at if found else None,
            revoked_by=found.by if found else "",
            revoked_why=found.reason if found else "",
        )
    )


def _manifest(row: Row[Any]) -> tuple[Manifest, str]:
    """Return the manifest of a row, and what is wrong with it; then it is none to go by."""
    try:
        manifest = parse_manifest(row.manifest)
    except ManifestError as error:
        return unknown_manifest(row.image), f"whose stored manifest is damaged ({error})"
    if (manifest.digest, manifest.image) != (row.digest, row.image):
        return unknown_manifest(row.image), "whose stored manifest has changed"
    return manifest, ""


def _generation(row: Row[Any]) -> Generation:
    manifest, damaged = _manifest(row)
    return Generation(
        ref=GenerationRef(row.image, row.number),
        digest=row.digest,
        manifest=manifest,
        imported_at=row.imported_at,
        imported_by=row.imported_by,
        removed_at=row.removed_at,
        revoked=None
        if row.revoked_at is None
        else Revocation(row.revoked_at, row.revoked_by, row.revoked_why),
        damaged=damaged,
    )


def _get(connection: Connection, ref: GenerationRef) -> Generation:
    query = select(_T).where(_T.c.image == ref.image, _T.c.number == ref.number)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"there is no generation {ref}")
    return _generation(row)


def _by_digest(connection: Connection, digest: str) -> Generation | None:
    row = connection.execute(select(_T).where(_T.c.digest == digest)).one_or_none()
    return None if row is None else _generation(row)


def _digests(generation: Generation) -> set[str]:
    if generation.damaged:
        return set()
    return {artifact.sha256 for artifact in generation.manifest.artifacts.values()}


def unneeded(connection: Connection, digests: Collection[str]) -> Sequence[str]:
    """Return those of ``digests`` that no generation or NBP needs which is not removed, sorted.

    None of them while one of these generations is damaged: what it needs is not known.
    """
    rows = connection.execute(select(_T).where(_T.c.removed_at.is_(None)))
    generations = [_generation(row) for row in rows]
    if any(one.damaged for one in generations):
        return []
    needed = set[str]().union(*map(_digests, generations))
    nbps = select(tables.nbp.c.digest).where(tables.nbp.c.removed_at.is_(None))
    return sorted(set(digests) - needed.union(connection.execute(nbps).scalars()))


def _users(connection: Connection, ref: GenerationRef, now: float) -> Sequence[str]:
    return [
        *_pinned(connection, ref),
        *_was_pinned(connection, ref),
        *_to_come(connection, ref),
        *_recent_boots(connection, ref, now),
    ]


def _pinned(connection: Connection, ref: GenerationRef) -> Sequence[str]:
    rows = connection.execute(_pins_of(ref).where(tables.pin.c.until.is_(None)))
    return [f"pin {_scope(row)} (now)" for row in rows]


def _was_pinned(connection: Connection, ref: GenerationRef) -> Sequence[str]:
    oldest = max(0, latest_revision(connection).number - KEPT_REVISIONS + 1)
    rows = connection.execute(_pins_of(ref).where(tables.pin.c.until > oldest))
    return [
        f"pin {_scope(row)} (of revision {row.until - 1}, one of the last {KEPT_REVISIONS})"
        for row in rows
    ]


def _pins_of(ref: GenerationRef) -> Select[Any]:
    t = tables.pin
    return (
        select(t)
        .where(t.c.image == ref.image, t.c.number == ref.number)
        .order_by(t.c.since.desc(), t.c.scope_kind, t.c.scope_name)
    )


def _scope(row: Row[Any]) -> Scope:
    return Scope(ScopeKind(row.scope_kind), row.scope_name)


def _to_come(connection: Connection, ref: GenerationRef) -> Sequence[str]:
    """Return what is set to give nodes ``ref``, now or when it ends."""
    held = [
        f"rollout {one.number} ({one.state})"
        for one in unfinished(connection)
        if ref == one.generation or any(ref == member.before for member in one.members.values())
    ]
    return [*held, *_boots_once(connection, ref)]


def _boots_once(connection: Connection, ref: GenerationRef) -> Sequence[str]:
    t = tables.boot_once
    query = select(t.c.node).where(t.c.outcome == OnceOutcome.PENDING.value)
    rows = connection.execute(query.where(t.c.generation == str(ref)).order_by(t.c.node))
    return [f"the next boot of node {row.node}" for row in rows]


def _recent_boots(connection: Connection, ref: GenerationRef, now: float) -> Sequence[str]:
    t = tables.boot
    query = (
        select(t.c.node, func.max(t.c.minted_at).label("at"))
        .where(t.c.image == ref.image, t.c.number == ref.number)
        .where(t.c.minted_at > now - KEPT_SECONDS)
        .group_by(t.c.node)
        .order_by(t.c.node)
    )
    return [
        f"node {row.node} booted it {max(0, round((now - row.at) / 60))} min ago"
        for row in connection.execute(query)
    ]
