"""That a generation is revoked: when, by whom and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns; no generation is revoked by it."""
    op.add_column("generation", sa.Column("revoked_at", sa.Float()))
    for name in ("revoked_by", "revoked_why"):
        op.add_column("generation", sa.Column(name, sa.Text(), nullable=False, server_default=""))
