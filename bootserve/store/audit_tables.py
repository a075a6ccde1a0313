"""The tables of the audit log, as the newest migration leaves them. Times are epoch seconds."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from bootserve.store.tables import METADATA

__all__ = ["audit", "audit_about", "audit_anchor", "audit_chain"]

_ID = BigInteger().with_variant(Integer, "sqlite")

audit_chain = Table(
    "audit_chain",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("server", String(32), nullable=False),
    Column("name", Text, nullable=False),
    UniqueConstraint("server", "name"),
)

# The columns beside ``record`` repeat what is in it, to search by; ``id`` is the order of arrival.
audit = Table(
    "audit",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("chain", ForeignKey(audit_chain.c.id), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("at", Float, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("revision", Integer),
    Column("record", Text, nullable=False),
    UniqueConstraint("chain", "sequence"),
    Index(None, "node", "id"),
)

# What a change concerns (node/NAME, rack/NAME); a boot's node has a column of its own.
audit_about = Table(
    "audit_about",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("record", _ID, primary_key=True, autoincrement=False),
)

audit_anchor = Table(
    "audit_anchor",
    METADATA,
    Column("chain", ForeignKey(audit_chain.c.id), primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("until", Float, nullable=False),
    Column("at", Float, nullable=False),
    Column("key", Text, nullable=False),
    Column("signature", Text, nullable=False),
)
