"""The offer shape set on a node, and the shapes that were found to work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column, with which older nodes are ``auto``, and the table."""
    op.add_column("node", sa.Column("shape", sa.Text(), nullable=False, server_default="auto"))
    op.create_table(
        "offer_shape",
        sa.Column("mac", sa.Text(), nullable=False),
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("mac", name="pk_offer_shape"),
    )
