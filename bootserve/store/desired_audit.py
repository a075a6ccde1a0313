"""What a revision changed, as the audit log tells it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.model.desired import Revision
from bootserve.store.desired_rows import Temporal, Value

__all__ = ["Changed", "revision_entry"]

Changed = tuple[Temporal, Sequence[tuple[Value, ...]], Sequence[tuple[Value, ...]]]
"""A temporal table, its rows that ended and its rows that began."""


def revision_entry(revision: Revision, changed: Iterable[Changed]) -> AuditEntry:
    """Return the entry of ``revision``: each row that it changed, before and after.

    Of a row that stays and changes, only the columns that differ are told.
    """
    changes: list[dict[str, Any]] = []
    about: set[str] = set()
    for temporal, ended, begun in changed:
        name = temporal.table.name
        places = {column: i for i, column in enumerate(temporal.columns)}
        for row in (*ended, *begun):
            about |= _about(name, row, places)
        changes += _changes(temporal, ended, begun)
    return AuditEntry(
        AuditKind.REVISION,
        revision.at,
        revision.author,
        revision.message,
        revision.number,
        about=tuple(sorted(about)),
        detail={"changes": changes},
    )


def _about(table: str, row: tuple[Value, ...], places: dict[str, int]) -> set[str]:
    """Return the nodes and racks that a row of ``table`` concerns."""
    match table:
        case "node":
            rack = row[places["rack"]]
            return {f"node/{row[places['name']]}", *([f"rack/{rack}"] if rack else [])}
        case "node_mac":
            return {f"node/{row[places['node']]}"}
        case "rack":
            return {f"rack/{row[places['name']]}"}
    if "scope_kind" not in places:
        return set()
    kind, name = row[places["scope_kind"]], row[places["scope_name"]]
    return {f"{kind}/{name}"} if kind in ("node", "rack") else set()


def _changes(
    temporal: Temporal, ended: Sequence[tuple[Value, ...]], begun: Sequence[tuple[Value, ...]]
) -> list[dict[str, Any]]:
    width = len(temporal.key)
    old = {row[:width]: row for row in ended}
    new = {row[:width]: row for row in begun}
    names = temporal.columns[width:]
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        differ = [
            i
            for i, _ in enumerate(names, width)
            if before is None or after is None or before[i] != after[i]
        ]
        found.append(
            {
                "table": temporal.table.name,
                "key": list(key),
                "before": before and {temporal.columns[i]: before[i] for i in differ},
                "after": after and {temporal.columns[i]: after[i] for i in differ},
            }
        )
    return found
