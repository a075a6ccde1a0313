"""What differs between databases: everything that is not plain SQL is here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Table, event
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["SERVER", "WRITE", "insert_new", "prepare_engine", "upsert"]

# A write that waits in vain for another program raises the audit alarm, within 5 s.
# A cache of 16 MiB: with the 2 MiB that SQLite takes by itself, filling is half as fast.
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=3000",
    "cache_size=-16384",
)

WRITE = "bootserve_write"
"""Execution option of a connection that is going to write."""

SERVER = "bootserve_server"
"""Execution option: the id of the server whose chains of the audit log are written."""


def prepare_engine(engine: Engine) -> None:
    """Set up the connections that ``engine`` will open."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "begin", _sqlite_begin)


def _sqlite_connected(dbapi: Any, _record: Any) -> None:
    # The driver must not begin transactions of its own: it would leave reads outside of them.
    dbapi.isolation_level = None
    for pragma in _PRAGMAS:
        dbapi.execute(f"PRAGMA {pragma}").close()


def _sqlite_begin(connection: Connection) -> None:
    # A reader that becomes a writer fails at once when another wrote meanwhile (SQLITE_BUSY,
    # whatever the timeout says), so a writer says so from the start.
    write = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def upsert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT into ``table`` that has ``on_conflict_do_update`` and ``…_do_nothing``."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def insert_new(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert ``rows``, each with a value for every column in order; those that are there stay.

    As an INSERT … ON CONFLICT DO NOTHING does, at a third of what it takes through SQLAlchemy.
    """
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        holes = ", ".join("?" * len(table.columns))
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({holes}) ON CONFLICT DO NOTHING'
        connection.exec_driver_sql(statement, list(rows))
    else:
        columns = [column.name for column in table.columns]
        named = [dict(zip(columns, row, strict=True)) for row in rows]
        connection.execute(upsert(connection, table).on_conflict_do_nothing(), named)
