"""Whether what is kept beside the audit log tells the same story as its records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from bootserve.core.audit_chain import Finding
from bootserve.model.audit import AuditKind, Chain
from bootserve.store import tables
from bootserve.store.audit_log import ChainRow
from bootserve.store.database import Database

__all__ = ["check_columns", "check_tables"]

Record = Mapping[str, Any]

_BOOT = ("node", "mac", "digest", "revision", "address")


def check_columns(row: ChainRow, record: Record) -> Finding | None:
    """Return what is wrong with the columns that ``record`` is searched by."""
    chain, sequence = Chain(record["chain"]), row.head.sequence
    node = ""
    if chain is Chain.BOOTS and record["about"]:
        node = str(record["about"][0]).removeprefix("node/")
    expected = {name: record[name] for name in ("at", "kind", "subject", "revision")}
    about = frozenset() if node else frozenset(record["about"])
    if row.columns == expected | {"node": node} and row.about in (None, about):
        return None
    text = f"record {sequence} is filed under what it does not say"
    return Finding(chain, "mismatch", sequence, text)


def check_tables(database: Database, records: Sequence[Record]) -> list[Finding]:
    """Return where boots and revisions in the database differ from their records.

    A boot stays as long as its record. Blocks; raises Unavailable.
    """
    with database.read() as connection:
        return [*_check_boots(connection, records), *_check_revisions(connection, records)]


def _mismatch(record: Record, text: str) -> Finding:
    return Finding(Chain(record["chain"]), "mismatch", record["sequence"], text)


def _of_kind(records: Iterable[Record], kind: AuditKind) -> list[Record]:
    return [record for record in records if record["kind"] == kind]


def _check_boots(connection: Connection, records: Sequence[Record]) -> Iterable[Finding]:
    told = _of_kind(records, AuditKind.BOOT)
    t = tables.boot
    ids = [str(record["detail"]["boot"]) for record in told]
    rows = {row.id: row for row in connection.execute(select(t).where(t.c.id.in_(ids)))}
    for record in told:
        detail, where = record["detail"], f"record {record['sequence']}"
        row = rows.get(detail["boot"])
        if row is None:
            if "@" in detail["generation"]:
                yield _mismatch(record, f"the boot of {where} is gone from the list of boots")
            continue
        said = {name: detail.get(name) for name in _BOOT}
        said |= {"node": record["about"][0].removeprefix("node/"), "revision": record["revision"]}
        same = all(getattr(row, name) == value for name, value in said.items())
        ran = f"{row.image}@{row.number}" == detail["generation"]
        if not (same and ran and row.minted_at == record["at"]):
            yield _mismatch(record, f"the list of boots says otherwise than {where}")


def _check_revisions(connection: Connection, records: Sequence[Record]) -> Iterable[Finding]:
    told = _of_kind(records, AuditKind.REVISION)
    t = tables.revision
    numbers = [record["revision"] for record in told]
    rows = {row.number: row for row in connection.execute(select(t).where(t.c.number.in_(numbers)))}
    for record in told:
        row, number = rows.get(record["revision"]), record["revision"]
        said = (record["subject"], record["message"], record["at"])
        if row is None or (row.author, row.message, row.at) != said:
            text = f"revision {number} is not the one of record {record['sequence']}"
            yield _mismatch(record, text)
