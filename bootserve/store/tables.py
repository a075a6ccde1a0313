"""The tables of the database, as the newest migration leaves them. Times are epoch seconds.

``node``, ``node_mac``, ``role``, ``rack`` and ``pin`` are temporal: a row holds from revision
``since`` on, up to and without revision ``until`` (NULL: it holds still). Any revision can so be
read back, and a commit writes only what differs.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

__all__ = [
    "METADATA",
    "boot",
    "boot_once",
    "boot_phase",
    "boot_token",
    "discovered",
    "generation",
    "journal_applied",
    "journal_gap",
    "nbp",
    "nbp_pin",
    "node",
    "node_mac",
    "offer_shape",
    "pin",
    "rack",
    "report",
    "revision",
    "role",
    "site",
]

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

site = Table("site", METADATA, Column("id", String(32), primary_key=True))

revision = Table(
    "revision",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("author", Text, nullable=False),
    Column("message", Text, nullable=False),
)


def _temporal(name: str, *columns: Column[str] | Column[int], unique: tuple[str, ...]) -> Table:
    """Return a temporal table; of the rows that hold still, ``unique`` tells one from another."""
    table = Table(
        name,
        METADATA,
        *columns,
        Column("since", ForeignKey(revision.c.number), primary_key=True, autoincrement=False),
        Column("until", ForeignKey(revision.c.number), index=True),
    )
    still = text("until IS NULL")
    current = [table.c[column] for column in unique]
    Index(f"uq_{name}_current", *current, unique=True, sqlite_where=still, postgresql_where=still)
    return table


node = _temporal(
    "node",
    Column("name", Text, primary_key=True),
    Column("rack", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("arch", Text, nullable=False),
    Column("image", Text, nullable=False),
    Column("kernel_args", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("nbp", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("shape", Text, nullable=False, server_default="auto"),
    unique=("name",),
)

node_mac = _temporal(
    "node_mac",
    Column("mac", Text, primary_key=True),
    Column("node", Text, nullable=False),
    Column("position", Integer, nullable=False),
    unique=("mac",),
)

role = _temporal(
    "role",
    Column("name", Text, primary_key=True),
    Column("image", Text, nullable=False),
    Column("kernel_args", Text, nullable=False),
    unique=("name",),
)

rack = _temporal(
    "rack",
    Column("name", Text, primary_key=True),
    Column("kernel_args", Text, nullable=False),
    unique=("name",),
)

pin = _temporal(
    "pin",
    Column("scope_kind", Text, primary_key=True),
    Column("scope_name", Text, primary_key=True),
    Column("image", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    unique=("scope_kind", "scope_name", "image"),
)

nbp_pin = _temporal(
    "nbp_pin",
    Column("scope_kind", Text, primary_key=True),
    Column("scope_name", Text, primary_key=True),
    Column("arch", Text, primary_key=True),
    Column("nbp", Text, nullable=False),
    unique=("scope_kind", "scope_name", "arch"),
)

nbp = Table(
    "nbp",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("arch", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("added_at", Float, nullable=False),
    Column("added_by", Text, nullable=False),
    Column("removed_at", Float),
)

generation = Table(
    "generation",
    METADATA,
    Column("image", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("manifest", LargeBinary, nullable=False),
    Column("imported_at", Float, nullable=False),
    Column("imported_by", Text, nullable=False),
    Column("removed_at", Float),
    Column("revoked_at", Float),
    Column("revoked_by", Text, nullable=False, server_default=""),
    Column("revoked_why", Text, nullable=False, server_default=""),
)

boot = Table(
    "boot",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("node", Text, nullable=False),
    Column("mac", Text, nullable=False),
    Column("image", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("minted_at", Float, nullable=False),
    Column("address", Text, nullable=False),
    Index(None, "node", "minted_at", "id"),
    Index(None, "minted_at", "id"),
)

# One row a phase, however often it is seen: what a node can make a server store is bounded.
boot_phase = Table(
    "boot_phase",
    METADATA,
    Column("boot", Text, primary_key=True),
    Column("phase", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("times", Integer, nullable=False),
    Column("detail", Text, nullable=False),
)

boot_token = Table(
    "boot_token",
    METADATA,
    Column("boot", Text, primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("at", Float, nullable=False),
)

boot_once = Table(
    "boot_once",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("node", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("script", Text, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_at", Float, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("ended_at", Float),
    Column("ended_by", Text, nullable=False, server_default=""),
    Column("mac", Text, nullable=False, server_default=""),
    Column("address", Text, nullable=False, server_default=""),
    Column("boot", Text, nullable=False, server_default=""),
    Index(None, "node", "set_at"),
)

report = Table(
    "report",
    METADATA,
    Column("journal", String(32), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("boot", Text, nullable=False, index=True),
    Column("phase", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("generation", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("uptime", Float, nullable=False),
    Column("detail", Text, nullable=False),
)

discovered = Table(
    "discovered",
    METADATA,
    Column("mac", Text, primary_key=True),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False, index=True),
    Column("times", Integer, nullable=False),
    Column("arch", Text, nullable=False),
    Column("uuid", Text, nullable=False),
    Column("vendor_class", Text, nullable=False),
    Column("serial", Text, nullable=False, server_default=""),
    Column("manufacturer", Text, nullable=False, server_default=""),
    Column("product", Text, nullable=False, server_default=""),
)

# What worked for a node's NIC after the other shape had not; the learned ones alone are here.
offer_shape = Table(
    "offer_shape",
    METADATA,
    Column("mac", Text, primary_key=True),
    Column("shape", Text, nullable=False),
    Column("at", Float, nullable=False),
)

journal_applied = Table(
    "journal_applied",
    METADATA,
    Column("journal", String(32), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)

journal_gap = Table(
    "journal_gap",
    METADATA,
    Column("journal", String(32), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
)
