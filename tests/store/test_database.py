from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateTable

from bootserve.errors import Conflict, InvalidInput, StorageFull, Unavailable
from bootserve.model.desired import DesiredState, Node
from bootserve.store import tables
from bootserve.store.boots import BootStore
from bootserve.store.database import MIGRATIONS, Database, sqlite_url
from bootserve.store.desired import DesiredStore

FIRST_DATA = """
INSERT INTO site (id) VALUES ('00112233445566778899aabbccddeeff');
INSERT INTO revision VALUES (0, 1.0, 'bootserve', 'initial'), (1, 2.0, 'root', 'a node');
INSERT INTO node (name, rack, role, arch, image, kernel_args, boot, nbp, labels, since)
  VALUES ('n1', 'r1', '', 'amd64', '', 'quiet', 'network', '', '[["k","v"]]', 1);
INSERT INTO node_mac (mac, node, position, since) VALUES ('52:54:00:00:00:01', 'n1', 0, 1);
INSERT INTO discovered (mac, first_seen, last_seen, times, arch, uuid, vendor_class)
  VALUES ('52:54:00:00:00:02', 3.0, 4.0, 5, 'x64', 'u', 'PXEClient');
"""


def make_first_schema(path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(sqlite_url(path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()


def test_the_first_schema_is_upgraded_with_its_data(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    make_first_schema(path)
    with sqlite3.connect(path) as raw:
        raw.executescript(FIRST_DATA)
    raw.close()
    database = Database.open(sqlite_url(path))
    assert database.site_id == "00112233445566778899aabbccddeeff"
    revision, state = DesiredStore(database).load()
    assert (revision.number, revision.author) == (1, "root")
    node = Node("n1", ("52:54:00:00:00:01",), "r1", kernel_args="quiet", labels=(("k", "v"),))
    assert state == DesiredState(nodes={"n1": node})
    (found,) = BootStore(database, "j").discovered()
    assert (found.first_seen, found.last_seen, found.times) == (3.0, 4.0, 5)
    assert (found.machine.uuid, found.machine.serial, found.machine.product) == ("u", "", "")
    database.close()


def test_the_migrations_lead_to_the_tables_of_the_code(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, tables.METADATA) == []


def test_every_table_has_its_postgresql_form() -> None:
    dialect = make_url("postgresql://").get_dialect()()
    for table in tables.METADATA.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect))


def test_opening_again_keeps_the_site_and_revision_0(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "db.sqlite")
    first = Database.open(url)
    revisions = DesiredStore(first).revisions()
    first.close()
    second = Database.open(url)
    assert second.site_id == first.site_id
    assert len(second.site_id) == 32
    assert list(DesiredStore(second).revisions()) == list(revisions)
    assert [(r.number, r.author, r.message) for r in revisions] == [(0, "bootserve", "initial")]
    second.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    Database.open(sqlite_url(path)).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(Conflict, match="schema 0999, newer than this bootserve"):
        Database.open(sqlite_url(path))
    assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("0999",)]
    raw.close()


def test_an_upgrade_that_fails_leaves_the_old_schema(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    make_first_schema(path)
    with sqlite3.connect(path) as raw:
        raw.execute("ALTER TABLE discovered ADD COLUMN product TEXT")  # in the way of 0002
    before = raw.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    with pytest.raises(Unavailable, match="duplicate column"):
        Database.open(sqlite_url(path))
    assert raw.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall() == before
    assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    raw.close()


def test_how_sqlite_is_set_up(database: Database) -> None:
    with database.read() as connection:
        said = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert said == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 3000,
    }


def test_an_error_in_a_transaction_undoes_it(database: Database) -> None:
    def fail_halfway() -> None:
        with database.write() as connection:
            connection.execute(insert(tables.site).values(id="x"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_halfway()
    with database.read() as connection:
        assert connection.execute(select(tables.site.c.id)).scalars().all() == [database.site_id]


def test_a_reader_sees_one_state_while_another_writes(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "db.sqlite")
    reader, writer = Database.open(url), Database.open(url)
    with reader.read() as connection:
        sites = select(tables.site.c.id)
        assert len(connection.execute(sites).all()) == 1
        with writer.write() as other:
            other.execute(insert(tables.site).values(id="x"))
        assert len(connection.execute(sites).all()) == 1
    reader.close()
    writer.close()


def test_a_row_that_is_there_already_is_a_conflict(database: Database) -> None:
    with pytest.raises(Conflict, match="another writer"), database.write() as connection:
        connection.execute(insert(tables.site).values(id=database.site_id))


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://localhost/x", "sqlite://", "nosuch:///x", "postgresql+nosuch://h/x"],
)
def test_a_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(InvalidInput, match="database URL"):
        Database.open(url)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    path.write_bytes(b"this is not a database, " * 100)
    with pytest.raises(Unavailable, match="not a database"):
        Database.open(sqlite_url(path))


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="unable to open"):
        Database.open(sqlite_url(tmp_path / "none" / "db.sqlite"))


def test_a_path_with_a_percent_sign(tmp_path: Path) -> None:
    Database.open(sqlite_url(tmp_path / "100%(x)s.sqlite")).close()
    assert (tmp_path / "100%(x)s.sqlite").exists()


def test_a_disk_without_room(tiny_disk: Path) -> None:
    database = Database.open(sqlite_url(tiny_disk / "db.sqlite"))
    store = DesiredStore(database)
    old = DesiredState()
    nodes = {f"n{i}": Node(f"n{i}", (), kernel_args="x" * 500) for i in range(1000)}
    (tiny_disk / "filler").write_bytes(bytes(400 << 10))
    with pytest.raises(StorageFull, match="no room"):
        store.commit(0, DesiredState(nodes), old=old, author="a", message="m", at=1.0)
    assert store.load()[0].number == 0
    (tiny_disk / "filler").unlink()
    few = DesiredState({"n1": nodes["n1"]})
    assert store.commit(0, few, old=old, author="a", message="m", at=1.0).number == 1
    assert store.load()[1] == few
    database.close()
