"""The API's answer about which nodes would boot something else than they run."""

from __future__ import annotations

from pydantic import Field

from bootserve.core.would_change import Why
from bootserve.servers.admin.paging import Page, PageQuery
from bootserve.servers.admin.routing import Answer

__all__ = ["ScopeQuery", "WouldChangeNode", "WouldChangeOut"]


class ScopeQuery(PageQuery):
    """Which nodes: node/NAME, rack/NAME, role/NAME or site. ``limit`` is how many are looked at."""

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


class WouldChangeOut(Page):
    """Of a page of a scope's nodes those that would change and those that never reported up.

    ``unchanged`` is how many of the page would not change.
    """

    revision: int
    nodes: list[WouldChangeNode]
    unchanged: int
    unknown: list[str]
