"""What nodes report and how their drift changed, in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import FromClause, Row, Select, and_, case, delete, func, literal, null, select

from bootserve.core.heartbeats import Running
from bootserve.core.resolve import Generations
from bootserve.model.boot import Phase
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
_STARTS_WITHIN = 3600.0
"""Seconds that a boot may take from its script to its report."""


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

    def load(self, generations: Generations, seconds: float = 60.0) -> list[Running]:
        """Return what the nodes reported last, as far as it is known.

        Nodes that came up after heartbeats were saved last, before the server was killed, are told
        of by their reports: their heartbeats are to come as often as others', or every ``seconds``.
        """
        with self._database.read() as connection:
            saved = connection.execute(_known(_H)).all()
            latest = max((row.last_seen for row in saved), default=0.0)
            interval = max((row.interval for row in saved), default=seconds)
            came_up = connection.execute(_known(_ups(latest - _STARTS_WITHIN, interval))).all()
        found = {row.node: _running(row, generations) for row in saved}
        for row in came_up:
            if row.node not in found or found[row.node].boot < row.boot:
                found[row.node] = _running(row, generations)
                found[row.node].drift = found[row.node].known
        return [*found.values()]

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


def _known(source: FromClause) -> Select[Any]:
    """Return the query for what is known of the boots of ``source``: heartbeats, or like them."""
    boot, token, s = tables.boot, tables.boot_token, source.c
    newest = (
        select(_C.c.boot, func.max(_C.c.at).label("at"))
        .where(_C.c.state.in_(("altered", "unaltered")))
        .group_by(_C.c.boot)
        .subquery()
    )
    return (
        select(
            source,
            *(boot.c.image, boot.c.number, boot.c.digest.label("generation_digest")),
            token.c.hash,
            boot_seal.c.baseline.label("sealed"),
            *(_C.c.digest.label("known"), _C.c.total, _C.c.entries, _C.c.at.label("since")),
        )
        .join(boot, boot.c.id == s.boot)
        .join(token, token.c.boot == s.boot)
        .outerjoin(boot_seal, boot_seal.c.boot == s.boot)
        .outerjoin(newest, newest.c.boot == s.boot)
        .outerjoin(
            _C,
            and_(
                _C.c.boot == newest.c.boot,
                _C.c.at == newest.c.at,
                _C.c.state.in_(("altered", "unaltered")),
            ),
        )
    )


def _ups(since: float, interval: float) -> FromClause:
    """Return the newest boot of each node that was minted after ``since`` and reported up.

    It has the columns of a heartbeat. Who took a snapshot of itself sends heartbeats, the next one
    within ``interval`` seconds.
    """
    boot, report = tables.boot, tables.report
    up = and_(report.c.boot == boot.c.id, report.c.phase == Phase.UP.value)
    order = (boot.c.minted_at.desc(), boot.c.id.desc(), report.c.at)
    ranked = (
        select(
            *(boot.c.node, boot.c.id.label("boot")),
            *(report.c.at.label("up_since"), report.c.at.label("last_seen")),
            *(report.c.root, report.c.uptime),
            *(null().label("clock_offset"), literal(interval).label("interval")),
            func.coalesce(boot_seal.c.baseline, "").label("baseline"),
            literal("").label("drift"),
            case((boot_seal.c.baseline.is_not(None), 1), else_=0).label("agent"),
            func.row_number().over(partition_by=boot.c.node, order_by=order).label("place"),
        )
        .join(report, up)
        .outerjoin(boot_seal, boot_seal.c.boot == boot.c.id)
        .where(boot.c.minted_at >= since)
        .subquery()
    )
    return select(ranked).where(ranked.c.place == 1).subquery()


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
