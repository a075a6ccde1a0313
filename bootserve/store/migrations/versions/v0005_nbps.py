"""NBPs that admins add, and the pins of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

STILL = sa.text("until IS NULL")
KEY = ("scope_kind", "scope_name", "arch")


def upgrade() -> None:
    """Add the tables, empty."""
    op.create_table(
        "nbp",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arch", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.Float()),
        sa.PrimaryKeyConstraint("name", name="pk_nbp"),
    )
    op.create_table(
        "nbp_pin",
        *(sa.Column(name, sa.Text(), nullable=False) for name in (*KEY, "nbp")),
        sa.Column("since", sa.Integer(), nullable=False),
        sa.Column("until", sa.Integer()),
        sa.PrimaryKeyConstraint(*KEY, "since", name="pk_nbp_pin"),
        sa.ForeignKeyConstraint(["since"], ["revision.number"], name="fk_nbp_pin_since"),
        sa.ForeignKeyConstraint(["until"], ["revision.number"], name="fk_nbp_pin_until"),
    )
    op.create_index("ix_nbp_pin_until", "nbp_pin", ["until"])
    op.create_index(
        "uq_nbp_pin_current",
        "nbp_pin",
        list(KEY),
        unique=True,
        sqlite_where=STILL,
        postgresql_where=STILL,
    )
