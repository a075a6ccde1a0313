"""One-shot actions: who set what for a node's next boot, and what became of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table, empty."""
    told = {
        name: sa.Column(name, sa.Text(), nullable=False, server_default="")
        for name in ("ended_by", "mac", "address", "boot")
    }
    op.create_table(
        "boot_once",
        sa.Column("id", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("node", "action", "generation", "script", "set_by")
        ),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Float()),
        *told.values(),
        sa.PrimaryKeyConstraint("id", name="pk_boot_once"),
    )
    op.create_index("ix_boot_once_node_set_at", "boot_once", ["node", "set_at"])
