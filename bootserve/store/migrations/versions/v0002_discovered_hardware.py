"""What a discovered machine's iPXE tells of its hardware: serial, manufacturer, product."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; machines discovered before have them empty."""
    for name in ("serial", "manufacturer", "product"):
        op.add_column("discovered", sa.Column(name, sa.Text(), nullable=False, server_default=""))
