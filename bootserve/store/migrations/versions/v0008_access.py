"""Who may: tokens, bindings, and the answers kept under Idempotency-Keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the tables, empty."""
    op.create_table(
        "access_token",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Float()),
        sa.Column("used_at", sa.Float()),
        sa.Column("revoked_at", sa.Float()),
        sa.Column("revoked_by", sa.Text()),
        sa.PrimaryKeyConstraint("name", name="pk_access_token"),
        sa.UniqueConstraint("hash", name="uq_access_token_hash"),
    )
    op.create_table(
        "access_binding",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("subject", "scope", "role")),
        sa.Column("granted_at", sa.Float(), nullable=False),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "scope", name="pk_access_binding"),
    )
    op.create_table(
        "kept_answer",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "key", name="pk_kept_answer"),
    )
    op.create_index("ix_kept_answer_at", "kept_answer", ["at"])
