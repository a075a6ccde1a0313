"""What is read again while the server runs: templates, quirks and the admin plane's certificate."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bootserve.errors import BootserveError
from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.service.files import load_quirks, load_scripts
from bootserve.service.tls import Tls
from bootserve.service.wiring import Parts

__all__ = ["SUBJECT", "reload", "reload_on_signal"]

SUBJECT = "SIGHUP"
"""Who reloaded, in the audit log, where it was a signal: it does not say who sent it."""


def reload(parts: Parts, tls: Tls | None, log: Any) -> None:
    """Read all of it again; raises InvalidInput, and the old ones stay."""
    scripts = load_scripts(parts.settings.templates_dir)
    quirks = load_quirks(parts.settings, parts.nbps)
    if tls is not None:
        tls.reload()
    parts.current.scripts, parts.shapes.book.quirks = scripts, quirks
    log.info("reloaded")


def reload_on_signal(
    reload: Callable[[], None], note: Callable[[AuditEntry], None], log: Any
) -> None:
    """Call ``reload`` at each SIGHUP from now on; ``note`` puts it into the audit log."""

    def signalled() -> None:
        entry = AuditEntry(AuditKind.RELOAD, time.time(), SUBJECT)
        try:
            reload()
        except BootserveError as error:
            entry = replace(entry, message=f"refused: {error}")
            log.error("not reloaded", error=str(error))
        note(entry)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, signalled)
