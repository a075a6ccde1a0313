"""What differs between databases: everything that is not plain SQL is here and nowhere else."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, Table, event
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["WRITE", "prepare_engine", "upsert"]

WRITE = "bootserve_write"
"""Execution option of a connection that is going to write."""


def prepare_engine(engine: Engine) -> None:
    """Set up the connections that ``engine`` will open."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "begin", _sqlite_begin)


def _sqlite_connected(dbapi: Any, _record: Any) -> None:
    # The driver must not begin transactions of its own: it would leave reads outside of them.
    dbapi.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
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
