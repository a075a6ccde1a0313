"""The API's bodies and answers about what a node waits for: loops and one-shot actions."""

from __future__ import annotations

from pydantic import Field

from bootserve.model.once import MAX_SCRIPT, OnceAction, OnceOutcome
from bootserve.servers.admin.routing import Answer, Request
from bootserve.servers.admin.schemas import NodeOut, Stated
from bootserve.servers.admin.schemas_nbp import NbpChoiceOut

__all__ = ["NodeShown", "OnceBody", "OnceList", "OnceOut", "ReleaseOut"]


class OnceBody(Request):
    """An action for a node's next boot only.

    ``generation`` goes with ``generation``, ``script`` (beginning ``#!ipxe``) with ``script``.
    """

    action: OnceAction
    generation: str = Field(default="", max_length=80)
    script: str = Field(default="", max_length=MAX_SCRIPT)


class OnceOut(Answer):
    """An action, who set it, and what became of it. Times are seconds since the epoch.

    ``mac``, ``address`` and ``boot`` are those that consumed it; ``boot`` is empty when no
    generation was booted.
    """

    id: str
    node: str
    action: OnceAction
    generation: str
    script: str
    set_by: str
    set_at: float
    outcome: OnceOutcome
    ended_at: float | None = None
    ended_by: str = ""
    mac: str = ""
    address: str = ""
    boot: str = ""


class OnceList(Answer):
    """What waits for a node's next boot, and its actions so far, the newest first."""

    pending: OnceOut | None
    history: list[OnceOut]


class NodeShown(Stated, NodeOut):
    """A node, what it waits for and the NBPs pinned for it.

    ``waits`` says why one in a loop gets nothing now; ``ipxe`` is the version and features that the
    iPXE of its last boot said it has. ``degraded`` is the last known good generation that it is
    given in place of its pin's, and why.
    """

    waits: str = ""
    degraded: str = ""
    once: OnceOut | None = None
    nbps: list[NbpChoiceOut] = []
    ipxe: str = ""


class ReleaseOut(Answer):
    """Whether a node was released from a wait, or at least from what had been counted."""

    node: str
    waited: str
