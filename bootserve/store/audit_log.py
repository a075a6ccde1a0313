"""Reading the audit log, its checkpoints, and pruning it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, or_, select

from bootserve.core.audit_sign import Signer
from bootserve.core.audit_verify import anchor_body, checkpoint_entry
from bootserve.model.audit import Anchor, AuditEntry, Chain, Head
from bootserve.store import tables
from bootserve.store.audit import (
    append_changes,
    append_records,
    chain_head,
    chain_number,
)
from bootserve.store.audit_tables import audit, audit_about, audit_anchor, audit_chain
from bootserve.store.database import Database
from bootserve.store.dialect import upsert

__all__ = ["AuditFilter", "AuditLog", "ChainRow", "KeptChain", "StoredRecord"]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records are wanted; times are epoch seconds, ``until`` is not among them."""

    since: float | None = None
    until: float | None = None
    actor: str = ""
    node: str = ""
    rack: str = ""
    kind: str = ""
    chain: str = ""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it is kept; ``id`` grows in the order of arrival, over all chains."""

    id: int
    hash: str
    line: str


@dataclass(frozen=True, slots=True)
class ChainRow:
    """A record's row: its place, its line, the columns that repeat it, what it is said to concern.

    ``about`` is None where it was not looked up.
    """

    head: Head
    line: str
    columns: Mapping[str, Any]
    about: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class KeptChain:
    """A chain in the database: whose and which it is, where it begins, its last record."""

    number: int
    server: str
    chain: Chain
    anchor: Anchor | None
    head: Head

    @property
    def start(self) -> Head:
        """The place before its first record."""
        return self.anchor.head if self.anchor else Head()


class AuditLog:
    """The chains in the database. Its methods block: use it in the database's thread.

    ``server`` is the id of this server. Every method raises Unavailable when the database is away.
    """

    def __init__(self, database: Database, server: str) -> None:
        self._database = database
        self.server = server

    def page(
        self,
        wanted: AuditFilter,
        *,
        limit: int,
        before: int | None = None,
        after: int | None = None,
    ) -> Sequence[StoredRecord]:
        """Return at most ``limit`` records, the latest to arrive first.

        ``before`` and ``after`` are ids of records. With ``after`` they are the first to arrive
        after it, and come in that order.
        """
        query = select(audit.c.id, audit.c.hash, audit.c.record).where(*_conditions(wanted))
        if before is not None:
            query = query.where(audit.c.id < before)
        if after is not None:
            query = query.where(audit.c.id > after).order_by(audit.c.id)
        else:
            query = query.order_by(audit.c.id.desc())
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit))
            return [StoredRecord(row.id, row.hash, row.record) for row in rows]

    def record(self, entry: AuditEntry) -> None:
        """Record ``entry``, a change outside of the database, in a transaction of its own."""
        with self._database.write() as connection:
            append_changes(connection, entry)

    def chains(self) -> Sequence[KeptChain]:
        """Return every chain, this server's first, that of the changes before that of the boots."""
        with self._database.read() as connection:
            rows = connection.execute(select(audit_chain))
            found = [
                KeptChain(
                    row.id,
                    row.server,
                    Chain(row.name),
                    _anchor(connection, row.id),
                    chain_head(connection, row.id),
                )
                for row in rows
            ]
        places = list(Chain)
        return sorted(
            found, key=lambda one: (one.server != self.server, one.server, places.index(one.chain))
        )

    def heads(self) -> dict[Chain, Head]:
        """Return the last records of this server's chains."""
        with self._database.read() as connection:
            return {chain: self._head(connection, chain) for chain in Chain}

    def _head(self, connection: Connection, chain: Chain) -> Head:
        number = chain_number(connection, self.server, chain)
        return Head() if number is None else chain_head(connection, number)

    def checkpoint(self, signer: Signer, at: float) -> dict[Chain, Head]:
        """Add a checkpoint to both chains, at ``at`` (epoch seconds), and return their heads.

        That of the changes names the head of the boots, and that of the boots the one just added.
        """
        with self._database.write() as connection:
            for chain, other, add in (
                (Chain.CHANGES, Chain.BOOTS, append_changes),
                (Chain.BOOTS, Chain.CHANGES, _append_record),
            ):
                own, named = self._head(connection, chain), self._head(connection, other)
                add(connection, checkpoint_entry(signer, self.server, chain, own, named, at))
            return {chain: self._head(connection, chain) for chain in Chain}

    def rows(self, number: int, after: int, limit: int) -> Sequence[ChainRow]:
        """Return at most ``limit`` records of a chain with sequences after ``after``, in order."""
        query = select(audit).where(audit.c.chain == number, audit.c.sequence > after)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(audit.c.sequence).limit(limit)).all()
            about = _about_of(connection, [row.id for row in rows if not row.node])
        return [_chain_row(row, about.get(row.id, frozenset())) for row in rows]

    def span(self, number: int, since: float | None, until: float | None) -> tuple[int, int] | None:
        """Return the first and last sequence among a chain's records of a time, None for none."""
        query = select(func.min(audit.c.sequence), func.max(audit.c.sequence))
        conditions = _times(AuditFilter(since, until))
        with self._database.read() as connection:
            first, last = connection.execute(
                query.where(audit.c.chain == number, *conditions)
            ).one()
        return None if first is None else (first, last)

    def place(self, number: int, sequence: int) -> Head | None:
        """Return the place of a record of a chain, or None when it is not there."""
        query = select(audit.c.sequence, audit.c.hash).where(
            audit.c.chain == number, audit.c.sequence == sequence
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Head(row.sequence, row.hash) if row else None

    def holds(self, chain: Chain, head: Head) -> bool:
        """Whether ``head`` is still a record of this server's ``chain``, or was pruned from it."""
        if not head.sequence:
            return True
        with self._database.read() as connection:
            number = chain_number(connection, self.server, chain)
            anchor = None if number is None else _anchor(connection, number)
        if number is None:
            return False
        if anchor and head.sequence < anchor.head.sequence:
            return True
        found = self.place(number, head.sequence)
        return head == (found or (anchor.head if anchor else None))

    def prune(
        self, chain: Chain, before: float, signer: Signer, at: float, *, limit: int = 500
    ) -> int:
        """Delete the oldest records of this server's ``chain``, at most ``limit``; return how many.

        Those are all older than ``before`` (epoch seconds); the newest record stays. A signed
        anchor takes their place, in the same transaction. ``at`` is the time now.
        """
        with self._database.write() as connection:
            number = chain_number(connection, self.server, chain)
            if number is None:
                return 0
            old = _oldest(connection, number, before, limit)
            if not old:
                return 0
            last, known = old[-1], _anchor(connection, number)
            until = max(row.at for row in old)
            anchor = Anchor(
                Head(last.sequence, last.hash),
                len(old) + (known.count if known else 0),
                max(until, known.until) if known else until,
                at,
                signer.id,
                "",
            )
            signature = signer.sign(anchor_body(self.server, chain, anchor))
            _put_anchor(connection, number, anchor, signature)
            mine = and_(audit.c.chain == number, audit.c.sequence <= last.sequence)
            if chain is Chain.CHANGES:
                gone = select(audit.c.id).where(mine)
                connection.execute(delete(audit_about).where(audit_about.c.record.in_(gone)))
            connection.execute(delete(audit).where(mine))
            return len(old)


def _append_record(connection: Connection, entry: AuditEntry) -> None:
    append_records(connection, [entry])


def _oldest(connection: Connection, number: int, before: float, limit: int) -> list[Any]:
    """Return the first rows of a chain up to one that is not older than ``before``."""
    t = audit.c
    query = select(t.id, t.sequence, t.hash, t.at).where(t.chain == number)
    rows = connection.execute(query.order_by(t.sequence).limit(limit + 1)).all()
    old = []
    for row in rows[:-1]:  # the newest of a chain stays: its head is read there
        if row.at >= before:
            break
        old.append(row)
    return old


def _anchor(connection: Connection, number: int) -> Anchor | None:
    query = select(audit_anchor).where(audit_anchor.c.chain == number)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    names = ("count", "until", "at", "key", "signature")
    return Anchor(Head(row["sequence"], row["hash"]), **{name: row[name] for name in names})


def _put_anchor(connection: Connection, number: int, anchor: Anchor, signature: str) -> None:
    values = {
        "sequence": anchor.head.sequence,
        "hash": anchor.head.hash,
        "count": anchor.count,
        "until": anchor.until,
        "at": anchor.at,
        "key": anchor.key,
        "signature": signature,
    }
    statement = upsert(connection, audit_anchor).values(chain=number, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["chain"], set_=values))


def _chain_row(row: Row[Any], about: frozenset[str]) -> ChainRow:
    names = ("at", "kind", "subject", "node", "revision")
    columns = {name: getattr(row, name) for name in names}
    return ChainRow(Head(row.sequence, row.hash), row.record, columns, about)


def _about_of(connection: Connection, ids: Iterable[int]) -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    query = select(audit_about).where(audit_about.c.record.in_(list(ids)))
    for row in connection.execute(query):
        found.setdefault(row.record, set()).add(row.name)
    return {key: frozenset(names) for key, names in found.items()}


def _times(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    found = []
    if wanted.since is not None:
        found.append(audit.c.at >= wanted.since)
    if wanted.until is not None:
        found.append(audit.c.at < wanted.until)
    return found


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    found = _times(wanted)
    if wanted.actor:
        found.append(audit.c.subject == wanted.actor)
    if wanted.kind:
        found.append(audit.c.kind == wanted.kind)
    if wanted.chain:
        chains = select(audit_chain.c.id).where(audit_chain.c.name == wanted.chain)
        found.append(audit.c.chain.in_(chains))
    if wanted.node:
        of_node = audit.c.node == wanted.node
        found.append(or_(of_node, audit.c.id.in_(_concerning(f"node/{wanted.node}"))))
    if wanted.rack:
        found.append(or_(_in_rack(wanted.rack), audit.c.id.in_(_concerning(f"rack/{wanted.rack}"))))
    return found


def _concerning(name: str) -> Any:
    return select(audit_about.c.record).where(audit_about.c.name == name)


def _in_rack(rack: str) -> ColumnElement[bool]:
    """Whether a record's node was in ``rack`` at its revision."""
    t = tables.node.c
    return exists().where(
        t.name == audit.c.node,
        t.rack == rack,
        t.since <= audit.c.revision,
        or_(t.until.is_(None), t.until > audit.c.revision),
    )
