"""The core: revisions, the temporal desired state, generations, boots, discovered machines."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

STILL = sa.text("until IS NULL")


def upgrade() -> None:
    """Create the tables."""
    op.create_table("site", sa.Column("id", sa.String(32), primary_key=True))
    op.create_table(
        "revision",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float(), nullable=False),
        _text("author"),
        _text("message"),
    )
    _create_desired_state()
    _create_generation()
    _create_boots()
    _create_journal_tables()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _time(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(), nullable=False)


def _create_temporal(name: str, key: tuple[str, ...], *others: sa.Column[Any]) -> None:
    op.create_table(
        name,
        *(_text(column) for column in key),
        *others,
        sa.Column("since", sa.Integer(), nullable=False),
        sa.Column("until", sa.Integer()),
        sa.PrimaryKeyConstraint(*key, "since", name=f"pk_{name}"),
        sa.ForeignKeyConstraint(["since"], ["revision.number"], name=f"fk_{name}_since"),
        sa.ForeignKeyConstraint(["until"], ["revision.number"], name=f"fk_{name}_until"),
    )
    op.create_index(f"ix_{name}_until", name, ["until"])
    op.create_index(
        f"uq_{name}_current",
        name,
        list(key),
        unique=True,
        sqlite_where=STILL,
        postgresql_where=STILL,
    )


def _create_desired_state() -> None:
    words = ("rack", "role", "arch", "image", "kernel_args", "boot", "nbp", "labels")
    _create_temporal("node", ("name",), *(_text(word) for word in words))
    _create_temporal("node_mac", ("mac",), _text("node"), _number("position"))
    _create_temporal("role", ("name",), _text("image"), _text("kernel_args"))
    _create_temporal("rack", ("name",), _text("kernel_args"))
    _create_temporal("pin", ("scope_kind", "scope_name", "image"), _number("number"))


def _create_generation() -> None:
    op.create_table(
        "generation",
        _text("image"),
        _number("number"),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        _time("imported_at"),
        _text("imported_by"),
        sa.Column("removed_at", sa.Float()),
        sa.PrimaryKeyConstraint("image", "number", name="pk_generation"),
        sa.UniqueConstraint("digest", name="uq_generation_digest"),
    )


def _create_boots() -> None:
    op.create_table(
        "boot",
        sa.Column("id", sa.Text(), primary_key=True),
        _text("node"),
        _text("mac"),
        _text("image"),
        _number("number"),
        sa.Column("digest", sa.String(64), nullable=False),
        _number("revision"),
        _time("minted_at"),
        _text("address"),
    )
    op.create_index("ix_boot_node_minted_at_id", "boot", ["node", "minted_at", "id"])
    op.create_index("ix_boot_minted_at_id", "boot", ["minted_at", "id"])
    op.create_table(
        "boot_phase",
        _text("boot"),
        _text("phase"),
        _time("at"),
        _time("last_at"),
        _number("times"),
        _text("detail"),
        sa.PrimaryKeyConstraint("boot", "phase", name="pk_boot_phase"),
    )
    op.create_table(
        "boot_token",
        sa.Column("boot", sa.Text(), primary_key=True),
        sa.Column("hash", sa.String(64), nullable=False),
        _time("at"),
    )
    op.create_table(
        "discovered",
        sa.Column("mac", sa.Text(), primary_key=True),
        _time("first_seen"),
        _time("last_seen"),
        _number("times"),
        _text("arch"),
        _text("uuid"),
        _text("vendor_class"),
    )
    op.create_index("ix_discovered_last_seen", "discovered", ["last_seen"])


def _create_journal_tables() -> None:
    op.create_table(
        "journal_applied",
        sa.Column("journal", sa.String(32), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
    )
    _create_by_sequence(
        "journal_gap",
        sa.Column("count", sa.BigInteger(), nullable=False),
        _time("first_at"),
        _time("last_at"),
    )
    words = ("generation", "root")
    _create_by_sequence(
        "report",
        _text("boot"),
        _text("phase"),
        _time("at"),
        *(_text(word) for word in words),
        _time("uptime"),
        _text("detail"),
    )
    op.create_index("ix_report_boot", "report", ["boot"])


def _create_by_sequence(name: str, *others: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("journal", sa.String(32), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        *others,
        sa.PrimaryKeyConstraint("journal", "sequence", name=f"pk_{name}"),
    )
