"""Seals and changes of drift, from the journal to SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, select

from bootserve.store.dialect import upsert
from bootserve.store.drift_tables import boot_seal, drift_change
from bootserve.store.records import DriftRecord, SealRecord

__all__ = ["KEPT_CHANGES", "DriftBatch"]

KEPT_CHANGES = 200
"""So many changes of a node's drift are kept; the oldest go first."""

_C = drift_change


class DriftBatch:
    """Records of one batch, until they are written."""

    def __init__(self, journal: str) -> None:
        self._journal = journal
        self._seals: list[dict[str, Any]] = []
        self._changes: list[dict[str, Any]] = []

    def add(self, sequence: int, record: SealRecord | DriftRecord) -> None:
        """Take one record."""
        names = ("boot", "node", "at")
        row: dict[str, Any] = {name: getattr(record, name) for name in names}
        if isinstance(record, SealRecord):
            self._seals.append(row | {"baseline": record.baseline})
            return
        told = {name: getattr(record, name) for name in ("state", "digest", "entries")}
        told["total"] = record.count
        self._changes.append({"journal": self._journal, "sequence": sequence, **row, **told})

    def write(self, connection: Connection) -> None:
        """Write them; of several seals of one boot the first counts."""
        for table, rows in ((boot_seal, self._seals), (_C, self._changes)):
            if rows:
                connection.execute(upsert(connection, table).on_conflict_do_nothing(), rows)
        for node in {row["node"] for row in self._changes}:
            _drop_oldest(connection, node)


def _drop_oldest(connection: Connection, node: str) -> None:
    of_node = select(_C.c.at).where(_C.c.node == node).order_by(_C.c.at.desc())
    edge = connection.execute(of_node.offset(KEPT_CHANGES).limit(1)).scalar()
    if edge is not None:
        connection.execute(delete(_C).where(_C.c.node == node, _C.c.at <= edge))
