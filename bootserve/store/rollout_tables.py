"""Tables of rollouts and last known good generations. Times are epoch seconds; 0 is never."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, Table, Text

from bootserve.store.tables import METADATA

__all__ = ["degraded", "rollout", "rollout_event", "rollout_member"]

rollout = Table(
    "rollout",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("scope", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("stages", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("base", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("stage", Integer, nullable=False),
    Column("stage_since", Float, nullable=False),
    Column("paused_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("version", Integer, nullable=False),
)

rollout_member = Table(
    "rollout_member",
    METADATA,
    Column("rollout", Integer, primary_key=True, autoincrement=False),
    Column("node", Text, primary_key=True),
    Column("stage", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("up", Boolean, nullable=False),
    Column("then", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "node"),
)

rollout_event = Table(
    "rollout_event",
    METADATA,
    Column("rollout", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("text", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("revision", Integer, nullable=False),
)

degraded = Table(
    "degraded",
    METADATA,
    Column("node", Text, primary_key=True),
    Column("since", Float, primary_key=True),
    Column("generation", Text, nullable=False),
    Column("instead_of", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("ended_at", Float),
    Column("ended_by", Text, nullable=False),
)
