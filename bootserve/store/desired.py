"""The desired state in SQL: every revision, each written as what it changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Row, and_, insert, or_, select, update
from sqlalchemy.exc import IntegrityError as ConstraintViolated
from sqlalchemy.sql.expression import bindparam

from bootserve.errors import Conflict, InvalidInput, NotFound
from bootserve.model.desired import DesiredState, Revision
from bootserve.store import tables
from bootserve.store.audit import append_changes
from bootserve.store.database import Database
from bootserve.store.desired_audit import Changed, revision_entry
from bootserve.store.desired_rows import TEMPORAL, Temporal, Value, changed_rows, state_from_rows
from bootserve.store.past_arguments import PastArguments, past_arguments

__all__ = ["AlsoWrite", "DesiredStore", "latest_revision"]

AlsoWrite = Callable[[Connection], None]
"""Writes more within a transaction."""


class DesiredStore:
    """Revisions of the desired state. Its methods block: use it in the database's thread.

    Every method raises Unavailable when the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, number: int | None = None) -> tuple[Revision, DesiredState]:
        """Return revision ``number``, or the latest one, and its state; raises NotFound."""
        with self._database.read() as connection:
            revision = latest_revision(connection) if number is None else _get(connection, number)
            rows = {t.table.name: _rows(connection, t, revision.number) for t in TEMPORAL}
        return revision, state_from_rows(rows)

    def latest(self) -> Revision:
        """Return the latest revision."""
        with self._database.read() as connection:
            return latest_revision(connection)

    def revisions(self, limit: int = 50, before: int | None = None) -> Sequence[Revision]:
        """Return at most ``limit`` revisions, the newest first, with numbers below ``before``."""
        query = select(tables.revision).order_by(tables.revision.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(tables.revision.c.number < before)
        with self._database.read() as connection:
            return [_revision(row) for row in connection.execute(query)]

    def past_arguments(self, since: int, now: DesiredState) -> PastArguments:
        """Return what tells the kernel arguments of nodes at every revision from ``since`` on."""
        return past_arguments(self._database, since, now)

    def commit(
        self,
        base: int,
        new: DesiredState,
        *,
        old: DesiredState,
        author: str,
        message: str,
        at: float,
        also: AlsoWrite | None = None,
    ) -> Revision:
        """Write ``new`` as the revision after ``base`` and return it.

        ``old`` is the state of revision ``base``, as :meth:`load` or the last commit gave it; only
        rows that differ between the two are written, in one transaction with the record of it in
        the audit log, and with what ``also`` writes. ``at`` is in seconds since the epoch.

        Raises Conflict when ``base`` is no longer the latest revision or ``old`` is not its state,
        and InvalidInput when ``new`` gives one MAC to two nodes; nothing is written then.
        """
        revision = Revision(base + 1, at, author, message)
        with self._database.write() as connection:
            _compare(connection, base)
            _insert_revision(connection, revision)
            changed = []
            for temporal in TEMPORAL:
                try:
                    changed.append(_write(connection, temporal, old, new, revision.number))
                except ConstraintViolated as error:
                    raise InvalidInput(f"the state contradicts itself: {error.orig}") from None
            append_changes(connection, revision_entry(revision, changed))
            if also is not None:
                also(connection)
        return revision


def latest_revision(connection: Connection) -> Revision:
    """Return the latest revision; there always is one."""
    query = select(tables.revision).order_by(tables.revision.c.number.desc()).limit(1)
    return _revision(connection.execute(query).one())


def _get(connection: Connection, number: int) -> Revision:
    row = connection.execute(
        select(tables.revision).where(tables.revision.c.number == number)
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no revision {number}")
    return _revision(row)


def _revision(row: Row[tuple[int, float, str, str]]) -> Revision:
    return Revision(row.number, row.at, row.author, row.message)


def _rows(connection: Connection, temporal: Temporal, number: int) -> list[tuple[Value, ...]]:
    table = temporal.table
    holds = and_(table.c.since <= number, or_(table.c.until.is_(None), table.c.until > number))
    columns = [table.c[name] for name in temporal.columns]
    # by key, so that the names of 100,000 nodes are nearly sorted when a list wants them to be
    query = select(*columns).where(holds).order_by(*(table.c[name] for name in temporal.key))
    return [tuple(row) for row in connection.execute(query)]


def _compare(connection: Connection, base: int) -> None:
    latest = latest_revision(connection)
    if latest.number != base:
        raise Conflict(
            f"revision {latest.number} was committed meanwhile by {latest.author}: "
            f"{latest.message!r}",
            hint="Look at it, then make the change again.",
        )


def _insert_revision(connection: Connection, revision: Revision) -> None:
    row = {
        "number": revision.number,
        "at": revision.at,
        "author": revision.author,
        "message": revision.message,
    }
    try:
        connection.execute(insert(tables.revision).values(row))
    except ConstraintViolated:  # PostgreSQL: two writers may both have passed the comparison
        raise Conflict(f"revision {revision.number} was committed meanwhile") from None


def _write(
    connection: Connection, temporal: Temporal, old: DesiredState, new: DesiredState, number: int
) -> Changed:
    ended, begun = changed_rows(temporal, old, new)
    table = temporal.table
    if ended:
        match = and_(*(table.c[name] == bindparam(f"key_{name}") for name in temporal.key))
        close = update(table).where(match, table.c.until.is_(None)).values(until=number)
        keys = [{f"key_{n}": row[i] for i, n in enumerate(temporal.key)} for row in ended]
        if connection.execute(close, keys).rowcount != len(keys):
            raise Conflict("the state that the change was made to is not the stored one")
    if begun:
        columns = temporal.columns
        rows = [{**dict(zip(columns, row, strict=True)), "since": number} for row in begun]
        connection.execute(insert(table), rows)
    return temporal, ended, begun
