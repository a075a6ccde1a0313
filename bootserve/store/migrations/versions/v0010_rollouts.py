"""Rollouts, their nodes and their story."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _integers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer(), nullable=False) for name in names]


def _times(*names: str) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Float(), nullable=False) for name in names]


def upgrade() -> None:
    """Add the tables, empty."""
    op.create_table(
        "rollout",
        *_integers("number"),
        *_text("scope", "generation", "root", "stages", "policy", "base"),
        *_times("created_at"),
        *_text("created_by", "state"),
        *_integers("stage"),
        *_times("stage_since", "paused_at", "ended_at"),
        *_text("reason"),
        *_integers("version"),
        sa.PrimaryKeyConstraint("number", name="pk_rollout"),
    )
    op.create_table(
        "rollout_member",
        *_integers("rollout"),
        *_text("node"),
        *_integers("stage"),
        *_text("state"),
        *_times("since"),
        *_integers("attempt"),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("up", sa.Boolean(), nullable=False),
        *_text("then", "before", "boot", "detail"),
        sa.PrimaryKeyConstraint("rollout", "node", name="pk_rollout_member"),
    )
    op.create_index("ix_rollout_member_node", "rollout_member", ["node"])
    op.create_table(
        "rollout_event",
        *_integers("rollout", "version", "place"),
        *_times("at"),
        *_text("text", "node"),
        *_integers("revision"),
        sa.PrimaryKeyConstraint("rollout", "version", "place", name="pk_rollout_event"),
    )
    op.create_table(
        "degraded",
        *_text("node"),
        *_times("since"),
        *_text("generation", "instead_of", "reason", "boot"),
        sa.Column("ended_at", sa.Float()),
        *_text("ended_by"),
        sa.PrimaryKeyConstraint("node", "since", name="pk_degraded"),
    )
