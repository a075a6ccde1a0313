"""One-shot actions in SQL: who set what, and what became of it. Filled from the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from bootserve.model.once import BootOnce, OnceAction, OnceOutcome
from bootserve.store import tables
from bootserve.store.database import Database
from bootserve.store.dialect import upsert
from bootserve.store.records import OnceRecord

__all__ = ["OnceHistory", "OnceStore", "apply_once"]

_T = tables.boot_once


@dataclass(frozen=True, slots=True)
class OnceHistory:
    """An action and what became of it.

    ``ended_at`` is seconds since the epoch, None while it waits; ``ended_by`` the admin who
    cancelled or replaced it; ``mac``, ``address`` and ``boot`` are the boot that consumed it, the
    last empty when no generation was booted.
    """

    once: BootOnce
    outcome: OnceOutcome
    ended_at: float | None = None
    ended_by: str = ""
    mac: str = ""
    address: str = ""
    boot: str = ""


class OnceStore:
    """What was set for nodes' next boots. Use it in the database's thread.

    Every method raises Unavailable when the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def history(self, node: str, *, limit: int = 20) -> Sequence[OnceHistory]:
        """Return at most ``limit`` actions of ``node``, the newest first."""
        query = select(_T).where(_T.c.node == node).order_by(_T.c.set_at.desc()).limit(limit)
        with self._database.read() as connection:
            return [_history(row) for row in connection.execute(query)]


def apply_once(connection: Connection, record: OnceRecord) -> None:
    """Store what ``record`` says; applying it again, or in whatever order, changes nothing."""
    if record.outcome == OnceOutcome.PENDING:
        row = {
            "id": record.id,
            "node": record.node,
            "action": record.action,
            "generation": record.generation,
            "script": record.script,
            "set_by": record.by,
            "set_at": record.at,
            "outcome": record.outcome,
        }
        connection.execute(upsert(connection, _T).on_conflict_do_nothing(), [row])
        return
    ended = {
        "outcome": record.outcome,
        "ended_at": record.at,
        "ended_by": record.by,
        "mac": record.mac,
        "address": record.address,
        "boot": record.boot,
    }
    still = (_T.c.id == record.id, _T.c.outcome == OnceOutcome.PENDING.value)
    connection.execute(update(_T).where(*still).values(ended))


def _history(row: Row[Any]) -> OnceHistory:
    once = BootOnce(
        id=row.id,
        node=row.node,
        action=OnceAction(row.action),
        generation=row.generation,
        script=row.script,
        set_by=row.set_by,
        set_at=row.set_at,
    )
    return OnceHistory(
        once,
        OnceOutcome(row.outcome),
        row.ended_at,
        row.ended_by,
        row.mac,
        row.address,
        row.boot,
    )
