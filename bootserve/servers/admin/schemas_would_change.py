"""The API's answer about which nodes would boot something else than they run."""

from __future__ import annotations

from pydantic import Field

from bootserve.core.would_change import Why
from bootserve.servers.admin.routing import Answer, Query

__all__ = ["ScopeQuery", "WouldChangeNode", "WouldChangeOut"]


class ScopeQuery(Query):
    """Which nodes: node/NAME, rack/NAME, role/NAME or site."""

    scope: str = Field(default="site", max_length=80)


class WouldChangeNode(Answer):
    """A node that would boot something else than it runs.

    ``why`` is generation, arguments (the same generation with other kernel arguments) or once (what
    was set for its next boot only).
    """

    node: str
    rack: str
    running: str
    next: str
    why: Why


class WouldChangeOut(Answer):
    """The nodes of a scope that would change, how many would not, and which never reported up."""

    revision: int
    nodes: list[WouldChangeNode]
    unchanged: int
    unknown: list[str]
