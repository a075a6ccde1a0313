"""The API's bodies and answers about what nodes run and what was altered on them."""

from __future__ import annotations

from pydantic import Field

from bootserve.model.drift import DriftKind, DriftState
from bootserve.servers.admin.paging import Page, PageQuery
from bootserve.servers.admin.routing import Answer, Request

__all__ = [
    "ChangeOut",
    "DiffBody",
    "DiffOut",
    "DriftList",
    "DriftOut",
    "DriftQuery",
    "EntryOut",
    "NodeDriftOut",
    "RunningOut",
]


class DriftQuery(PageQuery):
    """Which nodes: of ``rack`` or all; with ``all`` also those without drift."""

    rack: str = Field(default="", max_length=63)
    all: bool = False


class RunningOut(Answer):
    """What a node said last that it runs. Times are seconds since the epoch.

    ``uptime`` and ``interval`` (to its next heartbeat) are seconds, ``clock_offset`` is its clock
    less the server's, in seconds. ``heartbeats`` is whether it sends any. ``drift_since`` is null
    while nothing is altered. ``rebooting`` is the request to reboot that it follows.
    """

    boot: str
    generation: str
    root: str
    up_since: float
    last_seen: float
    uptime: float
    interval: float
    heartbeats: bool
    clock_offset: float | None = None
    drift_since: float | None = None
    rebooting: str = ""


class DriftOut(Answer):
    """A node, what is wrong with it and why, and what it runs (null: it never reported)."""

    node: str
    rack: str
    states: list[DriftState]
    reasons: list[str]
    altered: int
    running: RunningOut | None = None


class DriftList(Page):
    """Nodes with drift, by name. ``reporting`` and ``never_reported`` count the nodes looked at."""

    nodes: list[DriftOut]
    reporting: int
    never_reported: int


class EntryOut(Answer):
    """One difference; ``mtime`` is seconds since the epoch on the node's clock, 0 for none."""

    kind: DriftKind
    path: str
    type: str
    mode: str
    owner: str
    size: int
    mtime: float
    sha256: str
    detail: str


class ChangeOut(Answer):
    """A change of a node's drift: ``altered``, ``unaltered``, ``silent`` or ``heard``."""

    at: float
    boot: str
    state: str
    count: int
    paths: list[str]


class NodeDriftOut(DriftOut):
    """A node's drift: ``entries``, of which there are ``altered``, and how it came about."""

    entries: list[EntryOut]
    history: list[ChangeOut]


class DiffBody(Request):
    """The path of a changed file."""

    file: str = Field(min_length=2, max_length=1024)


class DiffOut(Answer):
    """A changed file, once the node has sent it: as the image has it, and as it is now.

    ``sent`` is false while the node is asked for it; it comes with the next heartbeat, in ``due``
    seconds. Either text is null where there is no such file, or no text in it; ``cut`` says that
    more than 64 KiB was there. ``kept_back`` says that the node has nothing to send.
    """

    node: str
    path: str
    sent: bool
    due: float = 0.0
    at: float | None = None
    image: str | None = None
    now: str | None = None
    cut: bool = False
    binary: bool = False
    kept_back: bool = False
