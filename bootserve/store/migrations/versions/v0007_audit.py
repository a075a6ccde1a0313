"""The audit log: chained records, what they concern, and where pruned chains begin."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

# Against accidents: whoever owns the file can drop a trigger, and verifying finds what they did.
NO_UPDATE = """
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'records of the audit log are never changed'); END
"""
NO_DELETE = """
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
WHEN OLD.sequence > coalesce((SELECT sequence FROM audit_anchor WHERE chain = OLD.chain), 0)
BEGIN SELECT RAISE(ABORT, 'records of the audit log go by pruning alone'); END
"""


def upgrade() -> None:
    """Add the tables, empty: what was done before is not on record."""
    op.create_table(
        "audit_chain",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("server", sa.String(32), nullable=False),
        _text("name"),
        sa.PrimaryKeyConstraint("id", name="pk_audit_chain"),
        sa.UniqueConstraint("server", "name", name="uq_audit_chain_server_name"),
    )
    _create_audit()
    op.create_table(
        "audit_about",
        _text("name"),
        sa.Column("record", _id(), nullable=False),
        sa.PrimaryKeyConstraint("name", "record", name="pk_audit_about"),
    )
    op.create_table(
        "audit_anchor",
        sa.Column("chain", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("until", "at")),
        *(_text(name) for name in ("key", "signature")),
        sa.PrimaryKeyConstraint("chain", name="pk_audit_anchor"),
        sa.ForeignKeyConstraint(
            ["chain"], ["audit_chain.id"], name="fk_audit_anchor_chain_audit_chain"
        ),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(NO_UPDATE)
        op.execute(NO_DELETE)


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _id(), nullable=False),
        sa.Column("chain", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        *(_text(name) for name in ("kind", "subject", "node")),
        sa.Column("revision", sa.Integer()),
        _text("record"),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.UniqueConstraint("chain", "sequence", name="uq_audit_chain_sequence"),
        sa.ForeignKeyConstraint(["chain"], ["audit_chain.id"], name="fk_audit_chain_audit_chain"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_node_id", "audit", ["node", "id"])


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)
