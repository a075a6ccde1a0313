"""Reboots of nodes, and the attempts of the hooks around them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the tables, empty."""
    _reboots()
    _hooks()


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _reboots() -> None:
    op.create_table(
        "reboot",
        *_texts("id", "node", "method", "by"),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("hooks", sa.Boolean(), nullable=False),
        *_texts("from_generation", "to_generation", "phase"),
        sa.Column("told_at", sa.Float()),
        sa.Column("up", sa.Boolean()),
        sa.Column("ended_at", sa.Float()),
        *_texts("failure"),
        sa.Column("skipped", sa.Boolean(), nullable=False),
        *_texts("detail"),
        sa.PrimaryKeyConstraint("id", name="pk_reboot"),
    )
    op.create_index("ix_reboot_rollout", "reboot", ["rollout"])
    op.create_index("ix_reboot_node_asked_at", "reboot", ["node", "asked_at"])
    op.create_index("ix_reboot_asked_at_id", "reboot", ["asked_at", "id"])


def _hooks() -> None:
    op.create_table(
        "reboot_hook",
        *_texts("reboot", "hook"),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        *_texts("when"),
        sa.Column("started_at", sa.Float(), nullable=False),
        *_texts("outcome"),
        sa.Column("ended_at", sa.Float()),
        *_texts("detail", "output"),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("wait", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("reboot", "hook", "attempt", name="pk_reboot_hook"),
    )
