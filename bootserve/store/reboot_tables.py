"""The tables of reboots and their hooks. Times are seconds since the epoch."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, Table, Text

from bootserve.store.tables import METADATA

__all__ = ["reboot", "reboot_hook"]

reboot = Table(
    "reboot",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("node", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("rollout", Integer, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("hooks", Boolean, nullable=False),
    Column("from_generation", Text, nullable=False),
    Column("to_generation", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("told_at", Float),
    Column("up", Boolean),
    Column("ended_at", Float),
    Column("failure", Text, nullable=False),
    Column("skipped", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "node", "asked_at"),
    Index(None, "asked_at", "id"),
)

reboot_hook = Table(
    "reboot_hook",
    METADATA,
    Column("reboot", Text, primary_key=True),
    Column("hook", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("when", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("ended_at", Float),
    Column("detail", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("wait", Float, nullable=False),
)
