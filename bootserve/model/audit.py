"""The audit log's types: what is to be recorded, and where in its chain a record stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Anchor", "AuditEntry", "AuditKind", "Chain", "Head"]


class Chain(StrEnum):
    """The two chains of a server: changes by people and programs, and what nodes did."""

    CHANGES = "changes"
    BOOTS = "boots"


class AuditKind(StrEnum):
    """What a record is about; ``failure`` is a time when the log could not be written."""

    REVISION = "revision"
    IMPORT = "import"
    REMOVE = "remove"
    REVOKE = "revoke"
    NBP = "nbp"
    RELEASE = "release"
    FORGET = "forget"
    RELOAD = "reload"
    SERVER = "server"
    TOKEN = "token"
    ACCESS = "access"
    ROLLOUT = "rollout"
    REBOOT = "reboot"
    CHECKPOINT = "checkpoint"
    PRUNE = "prune"
    BOOT = "boot"
    BOUND = "bound"
    REPORT = "report"
    SEAL = "seal"
    DRIFT = "drift"
    ONCE = "boot-once"
    DEGRADED = "degraded"
    GAP = "gap"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing to be recorded.

    ``at`` is seconds since the epoch; ``subject`` who did it: an admin, or ``node/NAME``.
    ``about`` names what it concerns (``node/NAME``, ``rack/NAME``), ``detail`` is what changed, in
    values that JSON has, secrets left out. ``revision`` is the one that it made or was made under,
    None where there is none; ``request`` the id of the API request that caused it.
    """

    kind: AuditKind
    at: float
    subject: str
    message: str = ""
    revision: int | None = None
    request: str = ""
    about: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """A record's place in its chain: its sequence, from 1, and its sha256 in hex.

    Sequence 0 stands before the first record.
    """

    sequence: int = 0
    hash: str = "0" * 64


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a chain begins whose older records were pruned: signed, so that it is no forger's.

    ``head`` is the last record pruned, ``count`` how many were in all, ``until`` the time of the
    latest of them and ``at`` the time of the pruning (epoch seconds).
    """

    head: Head
    count: int
    until: float
    at: float
    key: str
    signature: str
