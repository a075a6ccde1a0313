"""The SQL database: opening it, bringing its schema up to date, and its transactions."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError as BadUrl
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from sqlalchemy.exc import IntegrityError as ConstraintViolated

from bootserve.errors import BootserveError, Conflict, InvalidInput, StorageFull, Unavailable
from bootserve.store import tables
from bootserve.store.dialect import SERVER, WRITE, prepare_engine

__all__ = ["Database", "sqlite_url"]

MIGRATIONS = Path(__file__).parent / "migrations"


def sqlite_url(path: Path) -> str:
    """Return the URL of the SQLite database in the file at ``path``."""
    return f"sqlite:///{path.absolute()}"


class Watch(Protocol):
    """Is told how writes to a database went."""

    def failed(self, error: BootserveError) -> None:
        """A write failed."""

    def succeeded(self) -> None:
        """A write succeeded."""


class Database:
    """A database whose schema is the newest once it is open; it opens at its first use.

    ``url`` is in SQLAlchemy's notation; ``server`` is the id of the server, whose own the chains of
    the audit log are, and ``watch`` is told how each write went. Its methods block: use it in one
    thread. A use while the database is away raises Unavailable, and the next one tries again.
    """

    def __init__(self, url: str, server: str = "", watch: Watch | None = None) -> None:
        self._url = url
        self._server = server
        self._watch = watch
        self._engine: Engine | None = None
        self._site_id = ""

    @classmethod
    def open(cls, url: str, server: str = "") -> Self:
        """Return the database at ``url``, opened; raises what :meth:`connect` raises."""
        database = cls(url, server)
        database.connect()
        return database

    def connect(self) -> Engine:
        """Open the database and upgrade its schema, unless that is done.

        Raises InvalidInput for a URL that cannot be used, Conflict for a schema newer than this
        version knows, StorageFull or Unavailable when the database cannot be read or written.
        """
        if self._engine is None:
            self._engine, self._site_id = self._open()
        return self._engine

    def _open(self) -> tuple[Engine, str]:
        try:
            engine = create_engine(make_url(self._url))
        except (BadUrl, NoSuchModuleError, ModuleNotFoundError) as error:
            raise InvalidInput(f"the database URL cannot be used: {error}") from None
        if engine.dialect.name not in ("sqlite", "postgresql") or not engine.url.database:
            raise InvalidInput(
                "the database URL names neither a SQLite file nor a PostgreSQL database",
                hint="Write sqlite:////path/to/file.sqlite.",
            )
        prepare_engine(engine)
        try:
            with _write(engine) as connection:
                _upgrade(connection)
                site_id = _ensure_first_rows(connection)
        except BaseException:
            engine.dispose()
            raise
        return engine, site_id

    @property
    def site_id(self) -> str:
        """The random name of this installation: 32 hex digits, made with the database."""
        self.connect()
        return self._site_id

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database; raises Unavailable."""
        engine = self.connect()
        with _translated(), engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block, or undoes everything on an error.

        Raises StorageFull or Unavailable when the database cannot take it.
        """
        try:
            with _write(self.connect(), self._server) as connection:
                yield connection
        except (StorageFull, Unavailable) as error:
            if self._watch:
                self._watch.failed(error)
            raise
        if self._watch:
            self._watch.succeeded()

    def close(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            self._engine.dispose()


@contextlib.contextmanager
def _write(engine: Engine, server: str = "") -> Iterator[Connection]:
    with (
        _translated(),
        engine.connect().execution_options(**{WRITE: True, SERVER: server}) as connection,
        connection.begin(),
    ):
        yield connection


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise _as_ours(error) from error


def _as_ours(error: DBAPIError) -> BootserveError:
    text = str(error.orig)
    if isinstance(error, ConstraintViolated):
        return Conflict(f"another writer was first: {text}")
    if "disk is full" in text or "No space left" in text:
        return StorageFull("the database has no room left", hint="Free space on its disk.")
    return Unavailable(f"the database cannot be used: {text}")


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise Conflict(
            f"the database has the schema {current}, newer than this bootserve "
            f"(which knows up to {scripts.get_current_head()})",
            hint="Start the version that wrote it, or a later one.",
        )
    if current == scripts.get_current_head():
        return
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _ensure_first_rows(connection: Connection) -> str:
    """Give a new database its site id and revision 0; return the site id."""
    found = connection.execute(select(tables.site.c.id)).scalar()
    if found is not None:
        return str(found)
    site_id = uuid.uuid4().hex
    connection.execute(insert(tables.site).values(id=site_id))
    connection.execute(
        insert(tables.revision).values(
            number=0, at=time.time(), author="bootserve", message="initial"
        )
    )
    return site_id
