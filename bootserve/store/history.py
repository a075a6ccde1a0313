"""The state of any moment of the past, read back from the database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from bootserve.core.as_of import Past, RunningThen, Touched
from bootserve.core.resolve import Generations
from bootserve.errors import NotFound
from bootserve.model.boot import Boot, Phase
from bootserve.model.desired import Revision
from bootserve.model.generation import GenerationRef
from bootserve.store import tables
from bootserve.store.database import Database
from bootserve.store.desired import DesiredStore
from bootserve.store.desired_rows import TEMPORAL
from bootserve.store.generations import GenerationStore

__all__ = ["HistoryStore"]

_B, _R, _T = tables.boot, tables.revision, tables.report


class HistoryStore:
    """Looks back. Its methods block: use it in the database's thread.

    Every method raises Unavailable when the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def past(self, at: float, node: str | None = None) -> Past:
        """Return what was at ``at`` (epoch seconds); with ``node``, what ran on that one alone.

        Raises NotFound for a time before the first revision.
        """
        query = select(_R.c.number).where(_R.c.at <= at).order_by(_R.c.number.desc()).limit(1)
        with self._database.read() as connection:
            number = connection.execute(query).scalar()
        if number is None:
            raise NotFound("there is nothing on record of that time: it is before revision 0")
        revision, state = DesiredStore(self._database).load(number)
        generations = self._generations(at)
        with self._database.read() as connection:
            touched = _touched(connection, number)
            revisions = _revisions(connection, set(touched.values()))
            running = _running(connection, at, node)
        return Past(revision, state, generations, touched, revisions, running)

    def _generations(self, at: float) -> Generations:
        """Return the generations that there were, each as it was.

        Of one that was removed and imported again, the time between is not known here.
        """
        found = {}
        for one in GenerationStore(self._database).list(include_removed=True):
            if one.imported_at <= at:
                removed = one.removed_at if one.removed_at and one.removed_at <= at else None
                revoked = one.revoked if one.revoked and one.revoked.at <= at else None
                found[one.ref] = replace(one, removed_at=removed, revoked=revoked)
        return found


def _touched(connection: Connection, number: int) -> Touched:
    found: dict[tuple[str, ...], int] = {}
    for temporal in TEMPORAL:
        table = temporal.table
        keys = [table.c[name] for name in temporal.key]
        for edge in (table.c.since, table.c.until):
            query = select(*keys, func.max(edge)).where(edge <= number).group_by(*keys)
            for row in connection.execute(query):
                key = (table.name, *(str(word) for word in row[:-1]))
                found[key] = max(found.get(key, 0), row[-1])
    return found


def _revisions(connection: Connection, numbers: set[int]) -> dict[int, Revision]:
    if not numbers:
        return {}
    low, high = min(numbers), max(numbers)
    rows = connection.execute(select(_R).where(_R.c.number.between(low, high)))
    return {
        row.number: Revision(row.number, row.at, row.author, row.message)
        for row in rows
        if row.number in numbers
    }


def _running(connection: Connection, at: float, node: str | None) -> dict[str, RunningThen]:
    before = [_B.c.minted_at <= at, *([_B.c.node == node] if node else [])]
    newest = (
        select(_B.c.node, func.max(_B.c.minted_at).label("at"))
        .where(*before)
        .group_by(_B.c.node)
        .subquery()
    )
    chosen = and_(_B.c.node == newest.c.node, _B.c.minted_at == newest.c.at)
    rows = connection.execute(select(_B).join(newest, chosen).order_by(_B.c.id)).all()
    ups = _ups(connection, at, select(_B.c.id).join(newest, chosen))
    return {row.node: _running_then(row, ups.get(row.id)) for row in rows}


def _ups(connection: Connection, at: float, boots: Any) -> dict[str, Any]:
    """Return the last report ``up`` of each of ``boots`` by ``at``."""
    query = (
        select(_T.c.boot, _T.c.at, _T.c.generation, _T.c.root)
        .where(_T.c.boot.in_(boots), _T.c.phase == Phase.UP.value, _T.c.at <= at)
        .order_by(_T.c.at)
    )
    return {row.boot: row for row in connection.execute(query)}


def _running_then(row: Row[Any], up: Row[Any] | None) -> RunningThen:
    boot = Boot(
        id=row.id,
        node=row.node,
        mac=row.mac,
        generation=GenerationRef(row.image, row.number),
        digest=row.digest,
        revision=row.revision,
        minted_at=row.minted_at,
        address=row.address,
    )
    return RunningThen(boot, up.at, up.generation, up.root) if up else RunningThen(boot)
