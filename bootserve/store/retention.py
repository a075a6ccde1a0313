"""Deleting what nodes did, once it is older than it is to be kept, some rows at a time."""

from __future__ import annotations

from sqlalchemy import and_, delete, exists, select

from bootserve.model.audit import AuditKind
from bootserve.store import tables
from bootserve.store.audit_tables import audit
from bootserve.store.database import Database
from bootserve.store.drift_tables import boot_seal, drift_change

__all__ = ["Retention"]

ROWS = 500


class Retention:
    """Deletes old rows. Its methods block: use it in the database's thread.

    Each call is one small transaction, and returns how many rows it took; 0 when it is done.
    Times are epoch seconds. Every method raises StorageFull or Unavailable.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def drop_boots(self, before: float) -> int:
        """Delete boots minted before ``before``, with all that nodes said of them.

        The newest boot of each node stays, however old: it is what the node runs. So does one whose
        record is in the audit log: records go in their order, and a clock may have been set back.
        """
        newer, old = tables.boot.alias("newer"), tables.boot
        later = and_(newer.c.node == old.c.node, newer.c.minted_at > old.c.minted_at)
        told = and_(
            audit.c.at == old.c.minted_at,
            audit.c.kind == AuditKind.BOOT.value,
            audit.c.subject == "node/" + old.c.node,  # by ``node`` SQLite would look at all of it
        )
        query = (
            select(old.c.id)
            .where(old.c.minted_at < before, exists().where(later), ~exists().where(told))
            .order_by(old.c.minted_at)
            .limit(ROWS)
        )
        with self._database.write() as connection:
            ids = list(connection.execute(query).scalars())
            for column in (
                tables.boot_phase.c.boot,
                tables.boot_token.c.boot,
                tables.report.c.boot,
                boot_seal.c.boot,
                drift_change.c.boot,
                old.c.id,
            ):
                connection.execute(delete(column.table).where(column.in_(ids)))
        return len(ids)

    def drop_reports(self, before: float) -> int:
        """Delete reports that nodes made before ``before``.

        What a node said last that it runs stays: the latest report ``up`` of each boot.
        """
        t, newer = tables.report, tables.report.alias("newer")
        later = and_(
            newer.c.boot == t.c.boot,
            newer.c.phase == t.c.phase,
            newer.c.at > t.c.at,
        )
        gone = and_(t.c.at < before, (t.c.phase != "up") | exists().where(later))
        query = select(t.c.journal, t.c.sequence).where(gone).limit(ROWS)
        with self._database.write() as connection:
            keys = connection.execute(query).all()
            for journal in {key.journal for key in keys}:
                sequences = [key.sequence for key in keys if key.journal == journal]
                connection.execute(
                    delete(t).where(t.c.journal == journal, t.c.sequence.in_(sequences))
                )
        return len(keys)
