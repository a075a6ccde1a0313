"""The kernel arguments that nodes were given at earlier revisions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, or_, select

from bootserve.model.desired import DesiredState, Node
from bootserve.store import tables
from bootserve.store.database import Database

__all__ = ["PastArguments", "past_arguments"]

Rows = Mapping[str, list[Row[Any]]]


@dataclass(frozen=True, slots=True)
class PastArguments:
    """What of nodes, roles and racks was otherwise at some revision since ``since``."""

    since: int
    now: DesiredState
    _nodes: Rows
    _roles: Rows
    _racks: Rows

    def of(self, node: Node, revision: int) -> str | None:
        """Return the arguments that ``node`` was given at ``revision``, which is not before since.

        None when there was no such node.
        """
        row = _at(self._nodes, node.name, revision)
        if row is None and node.name in self._nodes:
            return None
        role, rack, own = (row.role, row.rack, row.kernel_args) if row else _of(node)
        parts = (
            self._group(self._roles, self.now.roles, role, revision),
            self._group(self._racks, self.now.racks, rack, revision),
            own,
        )
        return " ".join(part for part in parts if part)

    @staticmethod
    def _group(rows: Rows, now: Mapping[str, Any], name: str, revision: int) -> str:
        if name in rows:
            row = _at(rows, name, revision)
            return str(row.kernel_args) if row else ""
        return str(now[name].kernel_args) if name in now else ""


def _of(node: Node) -> tuple[str, str, str]:
    return node.role, node.rack, node.kernel_args


def _at(rows: Rows, name: str, revision: int) -> Row[Any] | None:
    for row in rows.get(name, ()):
        if row.since <= revision and (row.until is None or row.until > revision):
            return row
    return None


def past_arguments(database: Database, since: int, now: DesiredState) -> PastArguments:
    """Return what is needed to tell the arguments at every revision from ``since`` on.

    ``now`` is the current state. Reads what changed since then, and blocks. Raises Unavailable.
    """
    with database.read() as connection:
        nodes, roles, racks = (
            _changed(connection, table, since) for table in (tables.node, tables.role, tables.rack)
        )
    return PastArguments(since, now, nodes, roles, racks)


def _changed(connection: Connection, table: Table, since: int) -> Rows:
    changed = or_(table.c.since > since, table.c.until > since)
    names = select(table.c.name).where(changed)
    found: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(select(table).where(table.c.name.in_(names))):
        found[row.name].append(row)
    return found
