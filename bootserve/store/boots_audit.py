"""What of the journal goes into the audit log, and how it is told there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from sqlalchemy import Connection, select

from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.store import tables
from bootserve.store.records import (
    BootRecord,
    DegradedRecord,
    DriftRecord,
    FailureRecord,
    GapRecord,
    JournalRecord,
    OnceRecord,
    ReportRecord,
    SealRecord,
    TokenRecord,
    first_line,
)

__all__ = ["audit_entries"]

AT_ONCE = 500
"""Boots that are looked up by one query."""

Place = tuple[str, int]
"""A boot's node and revision."""

Detail = dict[str, str | int | float]

Said = TokenRecord | ReportRecord | SealRecord | DriftRecord
"""What a node says of a boot."""


def audit_entries(
    connection: Connection, records: Sequence[tuple[int, JournalRecord]]
) -> list[AuditEntry]:
    """Return the entries of (sequence, record) pairs of the journal, boots in SQL already.

    A boot, the token it was bound to, reports, seals, changes of drift, one-shot actions and losses
    are recorded; phases that the server alone saw, and machines that are no nodes, are not.
    """
    places = {one.id: (one.node, one.revision) for _, one in records if isinstance(one, BootRecord)}
    unknown = {one.boot for _, one in records if isinstance(one, Said) and one.boot not in places}
    places |= _look_up(connection, unknown)
    found = (_entry(sequence, record, places) for sequence, record in records)
    return [entry for entry in found if entry is not None]


def _look_up(connection: Connection, boots: Iterable[str]) -> dict[str, Place]:
    t = tables.boot
    wanted = sorted(boots)
    found: dict[str, Place] = {}
    for i in range(0, len(wanted), AT_ONCE):
        query = select(t.c.id, t.c.node, t.c.revision).where(t.c.id.in_(wanted[i : i + AT_ONCE]))
        found |= {row.id: (row.node, row.revision) for row in connection.execute(query)}
    return found


def _entry(sequence: int, record: JournalRecord, places: dict[str, Place]) -> AuditEntry | None:
    match record:
        case BootRecord():
            return _boot(sequence, record)
        case TokenRecord():
            detail: Detail = {"boot": record.boot, "token": record.hash, "journal": sequence}
            return _said(AuditKind.BOUND, record, places, detail)
        case ReportRecord():
            return _report(sequence, record, places)
        case SealRecord():
            detail = {"boot": record.boot, "baseline": record.baseline, "journal": sequence}
            return _said(AuditKind.SEAL, record, places, detail)
        case DriftRecord():
            return _drift(sequence, record, places)
        case OnceRecord():
            return _once(sequence, record)
        case DegradedRecord():
            return _degraded(sequence, record)
        case GapRecord():
            detail = {"count": record.count, "first_at": record.first_at, "journal": sequence}
            words = f"{record.count} records of the journal were lost"
            return AuditEntry(AuditKind.GAP, record.last_at, "bootserve", words, detail=detail)
        case FailureRecord():
            return _failure(sequence, record)
    return None


def _boot(sequence: int, record: BootRecord) -> AuditEntry:
    node = f"node/{record.node}"
    detail: Detail = {
        "boot": record.id,
        "mac": record.mac,
        "generation": record.generation,
        "digest": record.digest,
        "address": record.address,
        "journal": sequence,
    }
    return AuditEntry(
        AuditKind.BOOT, record.at, node, "", record.revision, about=(node,), detail=detail
    )


def _degraded(sequence: int, record: DegradedRecord) -> AuditEntry:
    detail: Detail = {
        "boot": record.boot,
        "generation": record.generation,
        "instead_of": record.instead_of,
        "journal": sequence,
    }
    words = f"no longer: {record.ended}" if record.ended else record.reason
    node = f"node/{record.node}"
    return AuditEntry(
        AuditKind.DEGRADED, record.at, "bootserve", words, about=(node,), detail=detail
    )


def _report(sequence: int, record: ReportRecord, places: dict[str, Place]) -> AuditEntry:
    detail: Detail = {
        "boot": record.boot,
        "phase": record.phase,
        "generation": record.generation,
        "root": record.root,
        "uptime": record.uptime,
        "journal": sequence,
    }
    if record.detail:
        detail["text"] = sha256(record.detail.encode()).hexdigest()
    words = first_line(record.detail)
    return _said(AuditKind.REPORT, record, places, detail, words)


def _failure(sequence: int, record: FailureRecord) -> AuditEntry:
    words = f"changes cannot be recorded: {record.error}"
    if not record.error:
        words = f"changes can be recorded again; {record.count} writes had failed"
    detail = {
        "what": record.what,
        "count": record.count,
        "since": record.since,
        "over": not record.error,
        "journal": sequence,
    }
    return AuditEntry(AuditKind.FAILURE, record.at, "bootserve", words, detail=detail)


def _drift(sequence: int, record: DriftRecord, places: dict[str, Place]) -> AuditEntry:
    detail: Detail = {
        "boot": record.boot,
        "state": record.state,
        "count": record.count,
        "digest": record.digest,
        "entries": sha256(record.entries.encode()).hexdigest(),
        "journal": sequence,
    }
    return _said(AuditKind.DRIFT, record, places, detail)


def _said(
    kind: AuditKind,
    record: Said,
    places: dict[str, Place],
    detail: Detail,
    words: str = "",
) -> AuditEntry:
    node, revision = places.get(record.boot, ("", None))
    about = (f"node/{node}",) if node else ()
    subject = f"node/{node}" if node else "node"
    return AuditEntry(kind, record.at, subject, words, revision, about=about, detail=detail)


def _once(sequence: int, record: OnceRecord) -> AuditEntry:
    """A one-shot action: what an admin set, cancelled or replaced, or what its node consumed."""
    node = f"node/{record.node}"
    names = ("id", "outcome", "action", "generation", "mac", "address", "boot")
    told = {name: getattr(record, name) for name in names}
    detail = {name: value for name, value in told.items() if value} | {"journal": sequence}
    if record.script:
        detail["script"] = sha256(record.script.encode()).hexdigest()
    return AuditEntry(AuditKind.ONCE, record.at, record.by or node, about=(node,), detail=detail)
