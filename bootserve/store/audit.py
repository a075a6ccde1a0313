"""Writing the audit log: records are added by whoever makes the change, in its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, insert, select

from bootserve.core.audit_chain import Link, chained
from bootserve.model.audit import AuditEntry, Chain, Head
from bootserve.store.audit_tables import audit, audit_about, audit_chain
from bootserve.store.dialect import SERVER

__all__ = ["REQUEST_ID", "append_changes", "append_records", "chain_head", "chain_number"]

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the API request that is being answered, for the records of what it changes."""

_COLUMNS = ("chain", "sequence", "hash", "at", "kind", "subject", "node", "revision", "record")
_NODE = "node/"


def append_changes(connection: Connection, *entries: AuditEntry) -> None:
    """Record ``entries`` in the chain of changes of the server that ``connection`` is of.

    Call it in the transaction that makes the change, so that there is neither without the other.
    """
    request = REQUEST_ID.get()
    told = [replace(one, request=request) if not one.request else one for one in entries]
    number, links = _chain_on(connection, Chain.CHANGES, told)
    for entry, link in zip(told, links, strict=True):
        made = connection.execute(insert(audit).values(_row(number, entry, link, "")))
        key = made.inserted_primary_key
        if entry.about and key is not None:
            names = sorted(set(entry.about))
            connection.execute(insert(audit_about), [{"name": n, "record": key[0]} for n in names])


def append_records(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Record what nodes did, in the chain of boots; each entry is about one node at most."""
    if not entries:
        return
    number, links = _chain_on(connection, Chain.BOOTS, entries)
    rows = [
        _row(number, entry, link, entry.about[0].removeprefix(_NODE) if entry.about else "")
        for entry, link in zip(entries, links, strict=True)
    ]
    if connection.dialect.name == "sqlite":  # at a third of what it takes through SQLAlchemy
        holes = ", ".join("?" * len(_COLUMNS))
        statement = f"INSERT INTO audit ({', '.join(_COLUMNS)}) VALUES ({holes})"
        connection.exec_driver_sql(statement, [tuple(row.values()) for row in rows])
    else:
        connection.execute(insert(audit), rows)


def _chain_on(
    connection: Connection, chain: Chain, entries: Iterable[AuditEntry]
) -> tuple[int, list[Link]]:
    server = connection.get_execution_options().get(SERVER, "")
    number = chain_number(connection, server, chain)
    if number is None:
        statement = insert(audit_chain).values(server=server, name=chain.value)
        made = connection.execute(statement).inserted_primary_key
        number = int(made[0]) if made is not None else 0
    return number, list(chained(server, chain, chain_head(connection, number), entries))


def _row(number: int, entry: AuditEntry, link: Link, node: str) -> dict[str, Any]:
    """Return the row of a record, its columns in the order of ``_COLUMNS``."""
    return {
        "chain": number,
        "sequence": link.head.sequence,
        "hash": link.head.hash,
        "at": entry.at,
        "kind": entry.kind.value,
        "subject": entry.subject,
        "node": node,
        "revision": entry.revision,
        "record": link.line,
    }


def chain_number(connection: Connection, server: str, chain: Chain) -> int | None:
    """Return the number of a server's chain in the tables, or None while it has no record."""
    t = audit_chain
    query = select(t.c.id).where(t.c.server == server, t.c.name == chain.value)
    return connection.execute(query).scalar()


def chain_head(connection: Connection, number: int) -> Head:
    """Return the last record of a chain; the place before its first when there is none."""
    query = select(audit.c.sequence, audit.c.hash).where(audit.c.chain == number)
    row = connection.execute(query.order_by(audit.c.sequence.desc()).limit(1)).one_or_none()
    return Head(row.sequence, row.hash) if row else Head()
