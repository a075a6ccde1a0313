"""A look at a SQLite database that changes nothing in it, for a server that is away or running."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from bootserve.store.database import MIGRATIONS

__all__ = ["DatabaseState", "look_at_database"]

MOST_PROBLEMS = 5
BUSY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What was seen. ``schema`` is the database's, empty for none; ``newest`` the one known here.

    ``problems`` are SQLite's own words, none for a sound database.
    """

    schema: str
    newest: str
    is_known: bool
    problems: tuple[str, ...] = ()


def look_at_database(path: Path) -> DatabaseState:
    """Return the state of the SQLite database in the file at ``path``; reads all of it, blocks."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    known = {one.revision for one in scripts.walk_revisions()}
    newest = scripts.get_current_head() or ""
    try:
        with closing(_opened(path)) as connection:
            schema = _schema(connection)
            rows = connection.execute(f"PRAGMA integrity_check({MOST_PROBLEMS})").fetchall()
            bad = [str(row[0]) for row in rows if row[0] != "ok"]
            foreign = connection.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.Error as error:
        return DatabaseState("", newest, False, (str(error),))
    except UnicodeDecodeError:
        # SQLite's message quotes the damage, and Python's module cannot decode it.
        return DatabaseState("", newest, False, ("its schema cannot be read",))
    bad += [f"{len(foreign)} rows refer to rows that are not there"] if foreign else []
    return DatabaseState(schema, newest, schema in known, tuple(bad))


def _opened(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)


def _schema(connection: sqlite3.Connection) -> str:
    named = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
    if not connection.execute(named).fetchone()[0]:
        return ""
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""
