"""Runs the migrations on the connection, and in the transaction, that the caller has open."""

from __future__ import annotations

from alembic import context

import bootserve.store.access_tables  # each adds to METADATA
import bootserve.store.audit_tables
import bootserve.store.drift_tables
import bootserve.store.reboot_tables
import bootserve.store.rollout_tables  # noqa: F401
from bootserve.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
