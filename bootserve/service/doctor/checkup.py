"""What the checks look at, and how a finding is said in one line of code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bootserve.model.finding import Finding, Level
from bootserve.servers.admin.schemas_seen import StatusOut
from bootserve.settings import Settings

__all__ = ["Check", "Checkup", "Server", "error", "ok", "warning"]


@dataclass(frozen=True, slots=True)
class Server:
    """The server that has the state directory: its pid, 0 for none and None for not to be seen.

    ``status`` is what it says of itself; None when it does not say.
    """

    pid: int | None = 0
    status: StatusOut | None = None

    @property
    def runs(self) -> bool:
        """Whether there is one, as far as can be seen."""
        return bool(self.pid)


@dataclass(frozen=True, slots=True)
class Checkup:
    """The settings that a server runs with or would run with, and what is seen of the machine.

    ``interfaces`` maps each provisioning interface to the address wanted there, empty for its
    first. ``clock`` returns seconds since the epoch. ``full`` verifies every artifact.
    """

    settings: Settings
    server: Server = Server()
    interfaces: dict[str, str] = field(default_factory=dict)
    full: bool = False
    clock: Callable[[], float] = time.time

    @property
    def state_dir(self) -> Path:
        """The state directory."""
        return self.settings.state_dir


Check = Callable[[Checkup], Iterable[Finding]]


def ok(subject: str, found: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, subject, found)


def warning(subject: str, found: str, action: str) -> Finding:
    """Return a finding that something should be looked into."""
    return Finding(Level.WARNING, subject, found, action)


def error(subject: str, found: str, action: str) -> Finding:
    """Return a finding that something does not work."""
    return Finding(Level.ERROR, subject, found, action)
