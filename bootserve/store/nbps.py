"""NBPs: what was added, and what keeps one from being removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from bootserve.errors import Conflict, NotFound
from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.model.desired import Scope, ScopeKind
from bootserve.model.nbp import Nbp, NbpArch
from bootserve.store import tables
from bootserve.store.audit import append_changes
from bootserve.store.database import Database
from bootserve.store.desired import latest_revision
from bootserve.store.generations import KEPT_REVISIONS, unneeded

__all__ = ["NbpStore"]

_T = tables.nbp


class NbpStore:
    """NBPs by name. Its methods block: use it in the database's thread.

    Every method raises Unavailable when the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, nbp: Nbp) -> bool:
        """Add ``nbp``, whose file must be in the artifact store; False when it is there already.

        One that was removed is one again. Raises Conflict when the name stands for another file.
        """
        with self._database.write() as connection:
            row = connection.execute(select(_T).where(_T.c.name == nbp.name)).one_or_none()
            if row is None:
                connection.execute(
                    insert(_T).values(
                        name=nbp.name,
                        arch=str(nbp.arch),
                        digest=nbp.digest,
                        size=nbp.size,
                        added_at=nbp.added_at,
                        added_by=nbp.added_by,
                    )
                )
                append_changes(connection, _entry("added", nbp, nbp.added_at, nbp.added_by))
                return True
            if (row.digest, row.arch) != (nbp.digest, str(nbp.arch)):
                raise Conflict(
                    f"{nbp.name} is the name of another NBP, sha256 {row.digest[:16]}…",
                    hint="A name stands for one file for ever: pass another with --name.",
                )
            if row.removed_at is None:
                return False
            connection.execute(update(_T).where(_T.c.name == nbp.name).values(removed_at=None))
            append_changes(connection, _entry("added again", nbp, nbp.added_at, nbp.added_by))
            return True

    def list(self) -> Sequence[Nbp]:
        """Return all NBPs by name, removed ones too."""
        with self._database.read() as connection:
            return [_nbp(row) for row in connection.execute(select(_T).order_by(_T.c.name))]

    def remove(self, name: str, *, at: float, by: str = "") -> Sequence[str]:
        """Mark ``name`` as removed and return the digests that nothing needs any more.

        ``at`` is seconds since the epoch, ``by`` who removes it. Raises NotFound, and Conflict
        when a pin of one of the last 10 revisions names it.
        """
        with self._database.write() as connection:
            row = connection.execute(select(_T).where(_T.c.name == name)).one_or_none()
            if row is None:
                raise NotFound(f"there is no NBP {name}", hint="See 'bootserve nbp list'.")
            used = _users(connection, name)
            if used:
                raise Conflict(
                    f"NBP {name} is in use: {'; '.join(used)}", hint="Remove its pins, and wait."
                )
            if row.removed_at is None:
                connection.execute(update(_T).where(_T.c.name == name).values(removed_at=at))
                append_changes(connection, _entry("removed", _nbp(row), at, by))
            return unneeded(connection, {row.digest})


def _entry(what: str, nbp: Nbp, at: float, by: str) -> AuditEntry:
    detail = {"what": what, "nbp": nbp.name, "arch": str(nbp.arch), "digest": nbp.digest}
    return AuditEntry(AuditKind.NBP, at, by, detail=detail)


def _nbp(row: Row[Any]) -> Nbp:
    return Nbp(
        name=row.name,
        arch=NbpArch(row.arch),
        digest=row.digest,
        size=row.size,
        added_at=row.added_at,
        added_by=row.added_by,
        removed_at=row.removed_at,
    )


def _users(connection: Connection, name: str) -> Sequence[str]:
    t = tables.nbp_pin
    oldest = max(0, latest_revision(connection).number - KEPT_REVISIONS + 1)
    query = (
        select(t)
        .where(t.c.nbp == name, or_(t.c.until.is_(None), t.c.until > oldest))
        .order_by(t.c.since.desc(), t.c.scope_kind, t.c.scope_name)
    )
    reasons = []
    for row in connection.execute(query):
        scope = Scope(ScopeKind(row.scope_kind), row.scope_name)
        when = "now" if row.until is None else f"of revision {row.until - 1}, one of the last 10"
        reasons.append(f"pin {scope} ({when})")
    return reasons
