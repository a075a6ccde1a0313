"""All checks in the order in which a reader wants them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from bootserve.errors import BootserveError, InvalidInput
from bootserve.model.finding import Finding
from bootserve.service.doctor.checkup import Check, Checkup, Server, warning
from bootserve.service.doctor.contents import (
    check_artifacts,
    check_database,
    check_nbps,
    check_own_files,
)
from bootserve.service.doctor.machine import check_clock, check_interfaces, check_rights
from bootserve.service.doctor.ports import check_firewall, check_ports
from bootserve.service.doctor.running import check_server, find_server
from bootserve.service.doctor.state import (
    check_directory,
    check_disk,
    check_journal,
    check_snapshot,
)
from bootserve.service.interface import address_of
from bootserve.settings import Settings

__all__ = ["examine"]

CHECKS: Final[Sequence[tuple[str, Check]]] = (
    ("server", check_server),
    ("interface", check_interfaces),
    ("rights", check_rights),
    ("ports", check_ports),
    ("firewall", check_firewall),
    ("NBP", check_nbps),
    ("own files", check_own_files),
    ("clock", check_clock),
    ("state directory", check_directory),
    ("disk", check_disk),
    ("database", check_database),
    ("artifacts", check_artifacts),
    ("snapshot", check_snapshot),
    ("journal", check_journal),
)


def examine(
    settings: Settings,
    note: Callable[[str], None],
    *,
    full: bool = False,
    clock: Callable[[], float] = time.time,
) -> list[Finding]:
    """Return what every check finds; ``note`` is told of those that take long.

    Nothing is changed and nothing that serves is disturbed. A check that cannot look says so in a
    finding. ``full`` verifies every artifact, not a sample. ``clock`` returns seconds since the
    epoch.
    """
    server = find_server(settings.state_dir)
    checkup = Checkup(settings, server, _interfaces(settings, server), full, clock)
    findings: list[Finding] = []
    for subject, check in CHECKS:
        if subject in SLOW:
            note(f"reading: {subject}")
        try:
            findings += check(checkup)
        except BootserveError as failed:
            findings.append(warning(subject, f"it could not be looked at: {failed}", _AS_ROOT))
        except OSError as failed:
            words = f"{failed.strerror}: {failed.filename}" if failed.filename else str(failed)
            findings.append(warning(subject, f"it could not be looked at: {words}", _AS_ROOT))
        except (subprocess.SubprocessError, ValueError, KeyError) as failed:
            findings.append(warning(subject, f"it could not be looked at: {failed!r}", _REPORT))
    return findings


SLOW: Final = ("database", "artifacts")
_REPORT: Final = "Look at it by hand, and report this."
_AS_ROOT: Final = "Run this as root, or as the server's user."


def _interfaces(settings: Settings, server: Server) -> dict[str, str]:
    """Return the address to advertise on each interface, as far as it is known.

    A running server knows best: its interface may have been given as a flag.
    """
    if server.status:
        return {one.interface: one.address for one in server.status.segments}
    found = {}
    for name, wanted in settings.addresses().items():
        try:
            found[name] = str(address_of(name, wanted).ip)
        except InvalidInput:
            found[name] = str(wanted or "")
    return found
