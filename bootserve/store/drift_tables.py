"""The tables of heartbeats and drift. Times are epoch seconds."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from bootserve.store.tables import METADATA

__all__ = ["boot_seal", "drift_change", "heartbeat"]

# The last heartbeat of each node, written now and then: a heartbeat itself is not stored.
heartbeat = Table(
    "heartbeat",
    METADATA,
    Column("node", Text, primary_key=True),
    Column("boot", Text, nullable=False),
    Column("up_since", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("root", Text, nullable=False),
    Column("uptime", Float, nullable=False),
    Column("clock_offset", Float),
    Column("interval", Float, nullable=False),
    Column("baseline", Text, nullable=False),
    Column("drift", Text, nullable=False),
    Column("agent", Integer, nullable=False),
)

boot_seal = Table(
    "boot_seal",
    METADATA,
    Column("boot", Text, primary_key=True),
    Column("node", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("baseline", String(64), nullable=False),
)

drift_change = Table(
    "drift_change",
    METADATA,
    Column("journal", String(32), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("node", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("state", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("entries", Text, nullable=False),
    Index(None, "node", "at"),
    Index(None, "boot"),
)
