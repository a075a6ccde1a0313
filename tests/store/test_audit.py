"""The audit log in SQL: written with the change that it records, and never changed by accident."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, update

from bootserve.core.audit_chain import ChainReader, parse_record
from bootserve.errors import BootserveError, Conflict, InvalidInput
from bootserve.model.audit import AuditEntry, AuditKind, Chain, Head
from bootserve.model.desired import DesiredState
from bootserve.model.generation import GenerationRef
from bootserve.model.nbp import Nbp, NbpArch
from bootserve.store.audit import REQUEST_ID, append_changes
from bootserve.store.audit_tables import audit, audit_about
from bootserve.store.boots import BootStore
from bootserve.store.database import Database
from bootserve.store.desired import DesiredStore
from bootserve.store.generations import GenerationStore
from bootserve.store.nbps import NbpStore
from bootserve.store.records import (
    BootRecord,
    GapRecord,
    JournalRecord,
    OnceRecord,
    PhaseRecord,
    ReportRecord,
    TokenRecord,
)
from tests.support.states import manifest, node, state

EMPTY = DesiredState()


def rows(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(audit).order_by(audit.c.id)))


def records(database: Database) -> list[dict[str, Any]]:
    return [parse_record(row.record) for row in rows(database)]


def about(database: Database, name: str) -> list[int]:
    query = select(audit_about.c.record).where(audit_about.c.name == name)
    with database.read() as connection:
        return list(connection.execute(query).scalars())


def commit(
    database: Database, old: DesiredState, new: DesiredState, base: int = 0, message: str = "why"
) -> None:
    DesiredStore(database).commit(base, new, old=old, author="ada", message=message, at=5.0)


def check_chain(database: Database, chain: Chain) -> None:
    reader = ChainReader("", chain, Head())
    for row in rows(database):
        record = parse_record(row.record)
        if record["chain"] == chain:
            assert reader.read(row.record, Head(row.sequence, row.hash))[1] == []


def test_a_revision_is_recorded_with_what_was_before_and_after(database: Database) -> None:
    one = state(node("n1", rack="r1"), node("n2", "52:54:00:00:00:02"), pins="rack/r1 web@1")
    two = state(node("n1", rack="r2"), pins="rack/r1 web@2")
    token = REQUEST_ID.set("request-7")
    try:
        commit(database, EMPTY, one)
    finally:
        REQUEST_ID.reset(token)
    commit(database, one, two, 1, "n2 is scrapped")
    first, second = records(database)
    assert first["request"] == "request-7"
    assert (second["subject"], second["message"], second["revision"], second["at"]) == (
        "ada",
        "n2 is scrapped",
        2,
        5.0,
    )
    assert second["about"] == ["node/n1", "node/n2", "rack/r1", "rack/r2"]
    changes = {(one["table"], *one["key"]): one for one in second["detail"]["changes"]}
    moved = changes["node", "n1"]
    assert (moved["before"], moved["after"]) == ({"rack": "r1"}, {"rack": "r2"})
    assert changes["node", "n2"]["after"] is None
    assert changes["node", "n2"]["before"]["arch"] == "amd64"
    pin = changes["pin", "rack", "r1", "web"]
    assert (pin["before"], pin["after"]) == ({"number": 1}, {"number": 2})
    assert about(database, "rack/r2") == [2]
    assert about(database, "node/n2") == [1, 2]
    check_chain(database, Chain.CHANGES)


def test_a_change_that_is_refused_leaves_no_record(database: Database) -> None:
    twice = state(node("n1"), node("n2"))
    with pytest.raises(InvalidInput):
        commit(database, EMPTY, twice)
    with pytest.raises(Conflict):
        commit(database, EMPTY, EMPTY, base=3)
    assert rows(database) == []


def test_imports_removals_and_nbps_are_recorded(database: Database) -> None:
    store, nbps = GenerationStore(database), NbpStore(database)
    store.register(manifest(), at=1.0, by="ada")
    store.register(manifest(), at=2.0, by="ada")
    store.remove(GenerationRef("web", 1), at=3.0, by="bob")
    store.remove(GenerationRef("web", 1), at=4.0, by="bob")
    store.register(manifest(), at=5.0, by="cid")
    nbp = Nbp("a.efi", NbpArch.X64, "d" * 64, 9, 6.0, "ada")
    nbps.add(nbp)
    nbps.add(nbp)
    nbps.remove("a.efi", at=7.0, by="bob")
    nbps.add(nbp)
    told = [(one["kind"], one["at"], one["subject"]) for one in records(database)]
    assert told == [
        ("import", 1.0, "ada"),
        ("remove", 3.0, "bob"),
        ("import", 5.0, "cid"),
        ("nbp", 6.0, "ada"),
        ("nbp", 7.0, "bob"),
        ("nbp", 6.0, "ada"),
    ]
    assert records(database)[2]["detail"]["again"]
    check_chain(database, Chain.CHANGES)


JOURNAL: list[JournalRecord] = [
    BootRecord("b1", "n1", "52:54:00:00:00:01", "web@1", "d" * 64, 4, 10.0, "10.0.0.5"),
    PhaseRecord("b1", "kernel", 11.0),
    TokenRecord("b1", "e" * 64, 12.0),
    ReportRecord("b1", "up", 13.0, "web@1", "f" * 64, 20.5, "it is up\nand its log"),
    OnceRecord("o1", "n2", 14.0, "pending", "local", by="ada"),
    GapRecord(3, 15.0, 16.0),
    BootRecord("b2", "n1", "52:54:00:00:00:01", "no generation", "", 4, 17.0, "10.0.0.5"),
]


def test_what_nodes_do_is_recorded_once_as_it_comes_from_the_journal(database: Database) -> None:
    store = BootStore(database, "j" * 32)
    numbered = list(enumerate(JOURNAL, 1))
    store.apply(numbered[:3], 3)
    store.apply(numbered[1:], 7)
    store.apply(numbered, 7)
    told = [(one["kind"], one["subject"], one["revision"]) for one in records(database)]
    assert told == [
        ("boot", "node/n1", 4),
        ("bound", "node/n1", 4),
        ("report", "node/n1", 4),
        ("boot-once", "ada", None),
        ("gap", "bootserve", None),
        ("boot", "node/n1", 4),
    ]
    assert [row.node for row in rows(database)] == ["n1", "n1", "n1", "n2", "", "n1"]
    report = records(database)[2]
    assert report["message"] == "it is up"
    assert report["detail"]["uptime"] == 20.5
    check_chain(database, Chain.BOOTS)


def test_a_record_is_changed_or_deleted_by_no_plain_statement(database: Database) -> None:
    commit(database, EMPTY, state(node()))
    for statement in (update(audit).values(subject="eve"), delete(audit)):
        with pytest.raises(BootserveError, match="audit log"), database.write() as connection:
            connection.execute(statement)
    assert [row.subject for row in rows(database)] == ["ada"]


def test_a_record_and_its_change_are_both_there_or_neither(database: Database) -> None:
    def fail(connection: Connection) -> None:
        append_changes(connection, AuditEntry(AuditKind.RELOAD, 1.0, "ada"))
        raise RuntimeError

    with pytest.raises(RuntimeError), database.write() as connection:
        fail(connection)
    assert rows(database) == []


def test_words_that_no_database_takes_are_recorded(database: Database) -> None:
    entry = AuditEntry(AuditKind.RELOAD, 1.0, "ada", "\ud800\0ü", detail={"a": "\udfff"})
    with database.write() as connection:
        append_changes(connection, entry)
    assert json.loads(rows(database)[0].record)["message"] == "\ud800\0ü"
    check_chain(database, Chain.CHANGES)
