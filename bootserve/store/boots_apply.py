"""One batch of journal records as SQL writes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, case, select

from bootserve.errors import InvalidInput
from bootserve.model.generation import GenerationRef
from bootserve.store import tables
from bootserve.store.audit import append_records
from bootserve.store.boots_audit import audit_entries
from bootserve.store.degraded import apply_degraded
from bootserve.store.dialect import insert_new, upsert
from bootserve.store.drift_apply import DriftBatch
from bootserve.store.once import apply_once
from bootserve.store.records import (
    BootRecord,
    DegradedRecord,
    DiscoveredRecord,
    DriftRecord,
    GapRecord,
    JournalRecord,
    OnceRecord,
    PhaseRecord,
    ReportRecord,
    SealRecord,
    ShapeRecord,
    TokenRecord,
    first_line,
)

__all__ = ["applied_sequence", "apply_records"]

Row = dict[str, Any]

_parse_ref = lru_cache(maxsize=1000)(GenerationRef.parse)


def applied_sequence(connection: Connection, journal: str) -> int:
    """Return the sequence through which ``journal`` is applied; 0 for none."""
    t = tables.journal_applied
    return connection.execute(select(t.c.sequence).where(t.c.journal == journal)).scalar() or 0


def apply_records(
    connection: Connection,
    journal: str,
    records: Iterable[tuple[int, JournalRecord]],
    through: int,
) -> None:
    """Write the records of ``journal`` that are not applied yet, and that they are now."""
    applied = applied_sequence(connection, journal)
    batch = _Batch(journal)
    for sequence, record in records:
        if sequence > applied:
            batch.add(sequence, record)
    batch.write(connection)
    if through > applied:
        t = tables.journal_applied
        statement = upsert(connection, t).values(journal=journal, sequence=through)
        connection.execute(
            statement.on_conflict_do_update(index_elements=["journal"], set_={"sequence": through})
        )


class _Batch:
    """Rows by table; rows of one key are merged, since one statement may touch a row only once."""

    def __init__(self, journal: str) -> None:
        self._journal = journal
        self._boots: list[tuple[Any, ...]] = []  # in the order of the table's columns
        self._phases: dict[tuple[str, str], Row] = {}
        self._tokens: dict[str, Row] = {}
        self._reports: list[Row] = []
        self._discovered: dict[str, Row] = {}
        self._shapes: dict[str, Row] = {}
        self._gaps: list[Row] = []
        self._onces: list[OnceRecord] = []
        self._degraded: list[DegradedRecord] = []
        self._drifts = DriftBatch(journal)
        self._audited: list[tuple[int, JournalRecord]] = []

    def add(self, sequence: int, record: JournalRecord) -> None:
        """Take one record."""
        place: Row = {"journal": self._journal, "sequence": sequence}
        if not isinstance(record, PhaseRecord):
            self._audited.append((sequence, record))
        match record:
            case BootRecord():
                self._add_boot(place, record)
            case PhaseRecord():
                self._add_phase(record.boot, record.phase, record.at, record.detail)
            case TokenRecord():
                row = {"hash": record.hash, "boot": record.boot, "at": record.at}
                self._tokens.setdefault(record.boot, row)
            case ReportRecord():
                self._add_report(place, record)
            case DiscoveredRecord():
                self._add_discovered(record)
            case ShapeRecord():
                row = {"mac": record.mac, "shape": record.shape, "at": record.at}
                self._shapes[record.mac] = row
            case OnceRecord():
                self._onces.append(record)
            case DegradedRecord():
                self._degraded.append(record)
            case SealRecord() | DriftRecord():
                self._drifts.add(sequence, record)
            case GapRecord():
                self._add_gap(place, record)

    def _add_boot(self, place: Row, record: BootRecord) -> None:
        try:
            ref = _parse_ref(record.generation)
        except InvalidInput:  # it cannot be told in SQL what it ran; that it is lost can
            self._add_gap(place, GapRecord(1, record.at, record.at))
            return
        self._boots.append(
            (
                record.id,
                record.node,
                record.mac,
                ref.image,
                ref.number,
                record.digest,
                record.revision,
                record.at,
                record.address,
            )
        )

    def _add_phase(self, boot: str, phase: str, at: float, detail: str) -> None:
        row = self._phases.get((boot, phase))
        if row is None:
            first: Row = {"boot": boot, "phase": phase, "at": at, "last_at": at, "times": 0}
            row = self._phases[boot, phase] = first | {"detail": ""}
        row["last_at"], row["times"] = at, row["times"] + 1
        row["detail"] = detail or row["detail"]

    def _add_report(self, place: Row, record: ReportRecord) -> None:
        self._add_phase(record.boot, record.phase, record.at, first_line(record.detail))
        row = {
            "boot": record.boot,
            "phase": record.phase,
            "at": record.at,
            "generation": record.generation,
            "root": record.root,
            "uptime": record.uptime,
            "detail": record.detail,
        }
        self._reports.append(place | row)

    def _add_discovered(self, record: DiscoveredRecord) -> None:
        words = {
            "arch": record.arch,
            "uuid": record.uuid,
            "vendor_class": record.vendor_class,
            "serial": record.serial,
            "manufacturer": record.manufacturer,
            "product": record.product,
        }
        row = self._discovered.get(record.mac)
        if row is None:
            row = self._discovered[record.mac] = {
                "mac": record.mac,
                "first_seen": record.at,
                "times": 0,
                **words,
            }
        row |= {name: word for name, word in words.items() if word}
        row["last_seen"], row["times"] = record.at, row["times"] + 1

    def _add_gap(self, place: Row, record: GapRecord) -> None:
        row = {"count": record.count, "first_at": record.first_at, "last_at": record.last_at}
        self._gaps.append(place | row)

    def write(self, connection: Connection) -> None:
        """Write everything that was taken."""
        insert_new(connection, tables.boot, self._boots)
        _insert_new(connection, tables.boot_token, list(self._tokens.values()))
        _insert_new(connection, tables.report, self._reports)
        _insert_new(connection, tables.journal_gap, self._gaps)
        _merge_phases(connection, list(self._phases.values()))
        _merge_discovered(connection, list(self._discovered.values()))
        _merge_shapes(connection, list(self._shapes.values()))
        for once in self._onces:
            apply_once(connection, once)
        for degraded in self._degraded:
            apply_degraded(connection, degraded)
        self._drifts.write(connection)
        append_records(connection, audit_entries(connection, self._audited))


def _insert_new(connection: Connection, table: Table, rows: list[Row]) -> None:
    if rows:
        connection.execute(upsert(connection, table).on_conflict_do_nothing(), rows)


def _kept_or(table: Table, given: Any, name: str) -> Any:
    """The given word, or what the row has where the given one is empty."""
    return case((given[name] == "", table.c[name]), else_=given[name])


def _merge_phases(connection: Connection, rows: list[Row]) -> None:
    if not rows:
        return
    t = tables.boot_phase
    statement = upsert(connection, t)
    given = statement.excluded
    changes = {
        "last_at": given.last_at,
        "times": t.c.times + given.times,
        "detail": _kept_or(t, given, "detail"),
    }
    merged = statement.on_conflict_do_update(index_elements=["boot", "phase"], set_=changes)
    connection.execute(merged, rows)


def _merge_discovered(connection: Connection, rows: list[Row]) -> None:
    if not rows:
        return
    t = tables.discovered
    statement = upsert(connection, t)
    given = statement.excluded
    words = ("arch", "uuid", "vendor_class", "serial", "manufacturer", "product")
    changes = {
        "last_seen": given.last_seen,
        "times": t.c.times + given.times,
        **{name: _kept_or(t, given, name) for name in words},
    }
    connection.execute(statement.on_conflict_do_update(index_elements=["mac"], set_=changes), rows)


def _merge_shapes(connection: Connection, rows: list[Row]) -> None:
    if not rows:
        return
    t = tables.offer_shape
    statement = upsert(connection, t)
    given = statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["mac"],
            set_={"shape": given.shape, "at": given.at},
            where=given.at >= t.c.at,  # another server may have learned later
        ),
        rows,
    )
