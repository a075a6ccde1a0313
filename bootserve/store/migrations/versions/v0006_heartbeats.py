"""What nodes report: their last heartbeat, the seal of each boot, the changes of their drift."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the tables, empty."""
    op.create_table(
        "heartbeat",
        *_texts("node", "boot", "root", "baseline", "drift"),
        *_floats("up_since", "last_seen", "uptime", "interval"),
        sa.Column("clock_offset", sa.Float()),
        sa.Column("agent", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("node", name="pk_heartbeat"),
    )
    op.create_table(
        "boot_seal",
        *_texts("boot", "node"),
        *_floats("at"),
        sa.Column("baseline", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("boot", name="pk_boot_seal"),
    )
    op.create_table(
        "drift_change",
        sa.Column("journal", sa.String(32), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        *_texts("node", "boot", "state", "digest", "entries"),
        *_floats("at"),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("journal", "sequence", name="pk_drift_change"),
    )
    op.create_index("ix_drift_change_node_at", "drift_change", ["node", "at"])
    op.create_index("ix_drift_change_boot", "drift_change", ["boot"])


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _floats(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Float(), nullable=False) for name in names]
