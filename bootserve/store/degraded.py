"""Nodes on their last known good generation, in SQL. Filled from the journal."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from bootserve.model.degraded import Degraded
from bootserve.model.generation import GenerationRef
from bootserve.store.database import Database
from bootserve.store.dialect import upsert
from bootserve.store.records import DegradedRecord
from bootserve.store.rollout_tables import degraded as table

__all__ = ["apply_degraded", "load_degraded"]

_C = table.c


def load_degraded(database: Database) -> Sequence[Degraded]:
    """Return who is degraded now, by the node's name; raises Unavailable."""
    query = select(table).where(_C.ended_at.is_(None)).order_by(_C.node, _C.since)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [
        Degraded(
            node=row.node,
            generation=GenerationRef.parse(row.generation),
            instead_of=GenerationRef.parse(row.instead_of),
            since=row.since,
            reason=row.reason,
            boot=row.boot,
        )
        for row in rows
    ]


def apply_degraded(connection: Connection, record: DegradedRecord) -> None:
    """Store what ``record`` says; applying it again changes nothing."""
    if record.ended:
        match = (_C.node == record.node, _C.since == record.since, _C.ended_at.is_(None))
        ended = {"ended_at": record.at, "ended_by": record.ended}
        connection.execute(update(table).where(*match).values(ended))
        return
    row = {
        "node": record.node,
        "since": record.since,
        "generation": record.generation,
        "instead_of": record.instead_of,
        "reason": record.reason,
        "boot": record.boot,
        "ended_by": "",
    }
    connection.execute(upsert(connection, table).on_conflict_do_nothing(), [row])
