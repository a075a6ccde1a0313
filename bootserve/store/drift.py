"""What nodes report and how their drift changed, in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, and_, delete, func, select

from bootserve.core.heartbeats import Running
from bootserve.core.resolve import Generations
from bootserve.model.drift import DriftChange, DriftEntry, DriftKind
from bootserve.model.generation import GenerationRef
from bootserve.store import tables
from bootserve.store.database import Database
from bootserve.store.dialect import upsert
from bootserve.store.drift_tables import boot_seal, drift_change, heartbeat
from bootserve.store.records import DriftRecord

__all__ = ["DriftStore", "drift_record"]

_BATCH = 1000
_H, _C = heartbeat, drift_change


def drift_record(change: DriftChange) -> DriftRecord:
    """Return the journal's record of ``change``."""
    return DriftRecord(
        node=change.node,
        boot=change.boot,
        at=change.at,
        state=change.state,
        count=change.count,
        digest=change.digest,
        entries=json.dumps([asdict(one) for one in change.entries]) if change.entries else "",
    )


def _entries(text: str) -> tuple[DriftEntry, ...]:
    found = json.loads(text) if text else []
    return tuple(DriftEntry(**one | {"kind": DriftKind(one["kind"])}) for one in found)


class DriftStore:
    """What nodes reported last, and the changes of their drift. Use it in the database's thread.

    Every method raises Unavailable when the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, book: Iterable[Running]) -> None:
        """Store what nodes report now, in transactions of a thousand nodes."""
        rows = [_row(one) for one in book]
        for start in range(0, len(rows), _BATCH):
            with self._database.write() as connection:
                statement = upsert(connection, _H)
                values = {c.name: statement.excluded[c.name] for c in _H.c if c.name != "node"}
                merged = statement.on_conflict_do_update(index_elements=["node"], set_=values)
                connection.execute(merged, rows[start : start + _BATCH])

    def forget(self, nodes: Sequence[str]) -> None:
        """Drop the last heartbeats of ``nodes``; the history of their drift stays."""
        with self._database.write() as connection:
            connection.execute(delete(_H).where(_H.c.node.in_(nodes)))

    def load(self, generations: Generations) -> list[Running]:
        """Return what the nodes reported last, as far as it is known."""
        boot, token = tables.boot, tables.boot_token
        newest = (
            select(_C.c.boot, func.max(_C.c.at).label("at"))
            .where(_C.c.state.in_(("altered", "unaltered")))
            .group_by(_C.c.boot)
            .subquery()
        )
        query = (
            select(
                _H,
                *(boot.c.image, boot.c.number, boot.c.digest.label("generation_digest")),
                token.c.hash,
                boot_seal.c.baseline.label("sealed"),
                *(_C.c.digest.label("known"), _C.c.total, _C.c.entries, _C.c.at.label("since")),
            )
            .join(boot, boot.c.id == _H.c.boot)
            .join(token, token.c.boot == _H.c.boot)
            .outerjoin(boot_seal, boot_seal.c.boot == _H.c.boot)
            .outerjoin(newest, newest.c.boot == _H.c.boot)
            .outerjoin(
                _C,
                and_(
                    _C.c.boot == newest.c.boot,
                    _C.c.at == newest.c.at,
                    _C.c.state.in_(("altered", "unaltered")),
                ),
            )
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [_running(row, generations) for row in rows]

    def history(self, node: str, *, limit: int = 20) -> Sequence[DriftChange]:
        """Return at most ``limit`` changes of the drift of ``node``, the newest first."""
        query = select(_C).where(_C.c.node == node)
        query = query.order_by(_C.c.at.desc(), _C.c.sequence.desc()).limit(limit)
        with self._database.read() as connection:
            return [
                DriftChange(
                    node=row.node,
                    boot=row.boot,
                    at=row.at,
                    state=row.state,
                    count=row.total,
                    digest=row.digest,
                    entries=_entries(row.entries),
                )
                for row in connection.execute(query)
            ]


def _row(running: Running) -> dict[str, Any]:
    names = ("node", "boot", "up_since", "last_seen", "root", "uptime", "interval", "baseline")
    row = {name: getattr(running, name) for name in (*names, "drift")}
    return row | {"clock_offset": running.offset, "agent": int(running.agent)}


def _running(row: Row[Any], generations: Generations) -> Running:
    ref = GenerationRef(row.image, row.number)
    generation = generations.get(ref)
    root = generation.manifest.artifacts["root"].sha256 if generation else ""
    return Running(
        node=row.node,
        boot=row.boot,
        generation=ref,
        digest=row.generation_digest,
        expected_root=root,
        token_hash=row.hash,
        up_since=row.up_since,
        last_seen=row.last_seen,
        root=row.root,
        uptime=row.uptime,
        offset=row.clock_offset,
        interval=row.interval,
        sealed=row.sealed or "",
        baseline=row.baseline,
        drift=row.drift,
        known=row.known or "",
        entries=_entries(row.entries or ""),
        count=row.total or 0,
        drift_since=row.since or 0.0 if row.total else 0.0,
        agent=bool(row.agent),
    )
