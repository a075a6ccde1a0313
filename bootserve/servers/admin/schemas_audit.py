"""The API's queries and answers about the audit log and the past. Times are epoch seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from bootserve.servers.admin.paging import Page, PageQuery
from bootserve.servers.admin.routing import Answer, Query, Request
from bootserve.servers.admin.schemas import RevisionOut

__all__ = [
    "AsOfOut",
    "AsOfQuery",
    "AuditHeadOut",
    "AuditKeyOut",
    "AuditPage",
    "AuditQuery",
    "AuditRecordOut",
    "ChainVerdictOut",
    "ExportQuery",
    "FindingOut",
    "NodeThen",
    "RunningOut",
    "VerdictOut",
    "VerifyBody",
]

Time = Annotated[float | None, Field(ge=0, le=1e11)]
Word = Annotated[str, Field(max_length=100)]
ID = Annotated[int | None, Field(ge=0, le=1 << 53)]


class AuditQuery(PageQuery):
    """Newest first. With ``after``, the id of a record, what arrived since, in that order.

    ``actor`` is a subject, ``chain`` is ``changes`` or ``boots``.
    """

    since: Time = None
    until: Time = None
    actor: Word = ""
    node: Word = ""
    rack: Word = ""
    kind: Word = ""
    chain: Literal["", "changes", "boots"] = ""
    before: ID = None
    after: ID = None


class AuditRecordOut(Answer):
    """A record; ``cut`` says that ``detail`` and ``about`` are longer, and whole in an export."""

    id: int
    server: str
    chain: str
    sequence: int
    hash: str
    at: float
    kind: str
    subject: str
    message: str
    revision: int | None
    request: str
    about: list[str]
    detail: dict[str, Any]
    cut: bool = False


class AuditPage(Page):
    """Records."""

    records: list[AuditRecordOut]


class ExportQuery(Query):
    """The time of which records are wanted; ``until`` is not part of it."""

    since: Time = None
    until: Time = None


class VerifyBody(Request):
    """Public keys to trust beside the server's own, and signed heads that were kept elsewhere."""

    keys: list[Annotated[str, Field(max_length=1000)]] = Field(default=[], max_length=100)
    heads: list[dict[str, Any]] = Field(default=[], max_length=100)


class FindingOut(Answer):
    """Something wrong: altered, missing, reordered, truncated, forged or mismatch."""

    chain: str
    problem: str
    sequence: int | None
    text: str


class ChainVerdictOut(Answer):
    """A chain that was verified: the sequences it begins and ends with, what was pruned of it."""

    server: str
    chain: str
    pruned: int
    first: int
    last: int
    records: int


class VerdictOut(Answer):
    """What verifying came to. ``found`` counts all findings, ``findings`` are the first ones.

    ``unchecked`` names keys of signatures that could not be checked.
    """

    intact: bool
    chains: list[ChainVerdictOut]
    checkpoints: int
    found: int
    findings: list[FindingOut]
    unchecked: list[str]


class AuditKeyOut(Answer):
    """The public key that the audit log is signed with: its id, as PEM, and in one word."""

    id: str
    pem: str
    text: str


class AuditHeadOut(Answer):
    """The last records of the server's chains, signed; verifying can be held against it."""

    server: str
    at: float
    heads: dict[str, Any]
    key: str
    signature: str


class AsOfQuery(PageQuery):
    """The time, and which nodes: ``node/NAME``, ``rack/NAME``, ``role/NAME`` or ``site``."""

    at: float = Field(ge=0, le=1e11)
    scope: str = Field(default="site", max_length=80)


class RunningOut(Answer):
    """The newest boot of a node at the time.

    ``up_at`` is null where it had not reported up; ``reported_generation`` and ``reported_root``
    are what it reported.
    """

    boot: str
    generation: str
    revision: int
    at: float
    up_at: float | None
    reported_generation: str
    reported_root: str


class NodeThen(Answer):
    """A node as it was: what was pinned for it and why, who changed that last, what it ran."""

    node: str
    rack: str
    role: str
    action: str
    generation: str
    reason: str
    changed: RevisionOut | None
    running: RunningOut | None


class AsOfOut(Page):
    """Nodes by name, as they were at ``at`` under ``revision``."""

    at: float
    revision: RevisionOut
    nodes: list[NodeThen]
