"""Old boots and reports go, some at a time; what a node runs stays."""

from __future__ import annotations

from sqlalchemy import func, select

from bootserve.core.audit_sign import Signer, new_key
from bootserve.model.audit import Chain
from bootserve.store import tables
from bootserve.store.audit_log import AuditLog
from bootserve.store.boots import BootStore
from bootserve.store.database import Database
from bootserve.store.drift_tables import boot_seal, drift_change
from bootserve.store.generations import KEPT_SECONDS, GenerationStore
from bootserve.store.records import (
    BootRecord,
    DriftRecord,
    JournalRecord,
    PhaseRecord,
    ReportRecord,
    SealRecord,
    TokenRecord,
)
from bootserve.store.retention import ROWS, Retention
from tests.support.states import manifest

JOURNAL = "j" * 32
SIGNER = Signer(new_key())


def fill(database: Database, count: int, node: str = "n1", first: int = 0) -> BootStore:
    """Give ``node`` boots at 0, 10, 20, … seconds, each with a phase and three reports."""
    store = BootStore(database, JOURNAL)
    records: list[JournalRecord] = []
    for n in range(count):
        boot, at = f"{node}-{n}", n * 10.0
        records.append(BootRecord(boot, node, "m", "web@1", "d" * 64, 1, at, "10.0.0.5"))
        records.append(PhaseRecord(boot, "kernel", at + 1))
        records += [ReportRecord(boot, "mounted", at + 2, "web@1", "f" * 64, 1.0, "")]
        records += [ReportRecord(boot, "up", at + k, "web@1", "f" * 64, 1.0, "") for k in (3, 4)]
    store.apply(list(enumerate(records, first + 1)), first + len(records))
    return store


def prune(database: Database, before: float) -> None:
    """Delete the records in the audit log that are older than ``before``."""
    log = AuditLog(database, "")
    while log.prune(Chain.BOOTS, before, SIGNER, 1e9):
        pass


def rows(database: Database) -> dict[str, int]:
    """Return how many rows each table has that has to do with boots."""
    own = (tables.boot, tables.boot_phase, tables.boot_token, tables.report)
    with database.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (*own, boot_seal, drift_change)
        }


def test_nothing_is_left_of_a_boot_that_goes(database: Database) -> None:
    store = BootStore(database, JOURNAL)
    for n in range(3):
        boot, at = f"b{n}", n * 10.0
        records: list[JournalRecord] = [
            BootRecord(boot, "n1", "m", "web@1", "d" * 64, 1, at, "10.0.0.5"),
            PhaseRecord(boot, "kernel", at),
            TokenRecord(boot, f"{n:064x}", at),
            ReportRecord(boot, "mounted", at, "web@1", "f" * 64, 1.0, ""),
            SealRecord(boot, "n1", at, "a" * 64),
            DriftRecord("n1", boot, at, "altered", 1, "d" * 64, "[]"),
        ]
        store.apply(list(enumerate(records, 1 + n * 6)), 6 + n * 6)
    assert set(rows(database).values()) == {3, 6}
    prune(database, 1e9)
    assert Retention(database).drop_boots(1e9) == 2
    assert set(rows(database).values()) == {1, 2}


def test_a_boot_under_a_wrong_clock_stays_as_long_as_its_record(database: Database) -> None:
    store, retention = BootStore(database, JOURNAL), Retention(database)
    times = (100.0, 3.0, 101.0, 200.0)  # the second when the clock stood at 1970
    records = [
        BootRecord(f"b{n}", "n1", "m", "web@1", "d" * 64, 1, at, "10.0.0.5")
        for n, at in enumerate(times)
    ]
    store.apply(list(enumerate(records, 1)), 4)
    prune(database, 50.0)
    assert retention.drop_boots(50.0) == 0
    prune(database, 101.0)
    assert retention.drop_boots(101.0) == 2
    assert {one.boot.id for one in store.boots()} == {"b2", "b3"}


def test_boots_go_with_all_of_theirs_but_for_the_newest_of_a_node(database: Database) -> None:
    store = fill(database, 5)
    fill(database, 1, "n2", first=100)
    retention = Retention(database)
    assert retention.drop_boots(30.0) == 0
    prune(database, 30.0)
    assert retention.drop_boots(30.0) == 3
    assert retention.drop_boots(30.0) == 0
    assert [one.boot.id for one in store.boots("n1")] == ["n1-4", "n1-3"]
    assert store.reports("n1-2") == []
    assert [one.phase for one in store.boots("n1")[1].phases] == [
        "script",
        "kernel",
        "mounted",
        "up",
    ]
    prune(database, 1e9)
    assert retention.drop_boots(1e9) == 1
    assert set(store.last_boots()) == {"n1", "n2"}


def test_reports_go_but_for_what_a_node_said_last_that_it_runs(database: Database) -> None:
    store = fill(database, 3)
    retention = Retention(database)
    assert retention.drop_reports(14.5) == 4
    assert [(one.phase, one.at) for one in store.reports("n1-0")] == [("up", 4.0)]
    assert [(one.phase, one.at) for one in store.reports("n1-1")] == [("up", 14.0)]
    assert len(store.reports("n1-2")) == 3
    assert retention.drop_reports(14.5) == 0
    assert store.boot("n1-0").running == "web@1"


def test_each_transaction_is_small(database: Database) -> None:
    fill(database, ROWS + 10)
    prune(database, 1e9)
    retention = Retention(database)
    assert retention.drop_reports(1e9) == ROWS
    assert retention.drop_boots(1e9) == ROWS
    assert retention.drop_boots(1e9) == 9


def test_a_boot_of_the_last_hour_still_protects_its_generation(database: Database) -> None:
    generations = GenerationStore(database)
    generations.register(manifest(), at=0.0, by="ada")
    fill(database, 2)
    prune(database, 1e9)
    Retention(database).drop_boots(1e9)
    ref = generations.list()[0].ref
    assert generations.users(ref, 10.0 + KEPT_SECONDS - 1)
    assert not generations.users(ref, 10.0 + KEPT_SECONDS + 1)
