"""Joins the parts of the audit log."""

from __future__ import annotations

from typing import Any

from bootserve.core.audit_sign import Signer
from bootserve.errors import BootserveError
from bootserve.servers.audit import AuditDesk
from bootserve.servers.dbthread import DatabaseThread
from bootserve.service.audit_keeper import HEAD_FILE, AuditKeeper
from bootserve.service.filler import Filler
from bootserve.settings import Settings
from bootserve.store.audit_key import open_key
from bootserve.store.audit_log import AuditLog
from bootserve.store.database import Database
from bootserve.store.journal import Journal
from bootserve.store.retention import Retention
from bootserve.store.write_watch import WriteWatch

__all__ = ["make_keeper"]


def make_keeper(
    settings: Settings,
    journal: Journal,
    database: Database,
    watch: WriteWatch,
    sql: DatabaseThread,
    filler: Filler,
    log: Any,
) -> AuditKeeper:
    """Return the keeper of the audit log and its desk; blocks while the key is read.

    A key that cannot be used does not keep nodes from booting: it is a problem that is shown.
    """
    watch.report_to(log)
    head_file = settings.state_dir / HEAD_FILE
    signer = _signer(settings, log)
    audit = AuditLog(database, journal.id)
    desk = AuditDesk(audit, database, sql, signer, filler.flush, head_file)
    retention = Retention(database)
    return AuditKeeper(desk, retention, sql, journal, watch, signer, head_file, settings, log)


def _signer(settings: Settings, log: Any) -> Signer | None:
    try:
        return open_key(settings.state_dir)
    except BootserveError as error:
        log.error("audit alarm", error=str(error), hint=error.hint)
        return None
