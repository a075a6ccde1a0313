"""The API's bodies and answers about the desired state.

What validates a request also describes it in OpenAPI.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from bootserve.model.desired import BootFrom
from bootserve.model.names import Arch
from bootserve.model.shape import ShapeSetting
from bootserve.servers.admin.paging import Page, PageQuery
from bootserve.servers.admin.routing import Answer, Query, Request

__all__ = [
    "AdoptBody",
    "CommitOut",
    "MessageQuery",
    "NodeBody",
    "NodeList",
    "NodeOut",
    "NodePatch",
    "NodeQuery",
    "PinBody",
    "PinList",
    "PinOut",
    "RackBody",
    "RackList",
    "RackOut",
    "RevisionList",
    "RevisionOut",
    "RevisionQuery",
    "RoleBody",
    "RoleList",
    "RoleOut",
    "RollbackBody",
    "Stated",
    "UnpinQuery",
]

Message = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(max_length=63)]


class Change(Request):
    """A change's message. The revision that it was thought up against is named by If-Match."""

    message: Message = ""


class MessageQuery(Query):
    """The same for a DELETE, which has no body."""

    message: Message = ""


class NodeBody(Change):
    """A new node."""

    name: Name
    macs: list[str] = Field(min_length=1, max_length=64)
    rack: Name = ""
    role: Name = ""
    arch: Arch = Arch.AMD64
    image: Name = ""
    kernel_args: str = ""
    boot: BootFrom = BootFrom.NETWORK
    nbp: str = Field(default="", max_length=127)
    labels: dict[str, str] = {}
    shape: ShapeSetting = ShapeSetting.AUTO


class NodePatch(Change):
    """What to change of a node: absent or null fields stay as they are."""

    macs: list[str] | None = Field(default=None, min_length=1, max_length=64)
    rack: Name | None = None
    role: Name | None = None
    arch: Arch | None = None
    image: Name | None = None
    kernel_args: str | None = None
    boot: BootFrom | None = None
    nbp: str | None = Field(default=None, max_length=127)
    labels: dict[str, str] | None = None
    shape: ShapeSetting | None = None


class AdoptBody(Change):
    """Makes a discovered machine a node."""

    name: Name
    rack: Name = ""
    role: Name = ""


class NodeOut(Answer):
    """A node, what its pins come to, and its last boot."""

    name: str
    macs: list[str]
    rack: str
    role: str
    arch: Arch
    image: str
    kernel_args: str
    boot: BootFrom
    nbp: str
    labels: dict[str, str]
    shape: ShapeSetting
    action: str
    generation: str
    reason: str


class Stated(Answer):
    """An answer about the desired state, which says of which ``revision``; it is its ETag."""

    revision: int

    def revision_number(self) -> int | None:
        """Its revision."""
        return self.revision


class NodeQuery(PageQuery):
    """Which nodes: those whose names begin with ``prefix``."""

    prefix: str = Field(default="", max_length=63)


class NodeList(Stated, Page):
    """Nodes by name."""

    nodes: list[NodeOut]


class RoleBody(Change):
    """A role's image and kernel arguments; null leaves what is there."""

    image: Name | None = None
    kernel_args: str | None = None


class RoleOut(Answer):
    """A role."""

    name: str
    image: str
    kernel_args: str
    nodes: int


class RoleList(Stated, Page):
    """Roles by name."""

    roles: list[RoleOut]


class RackBody(Change):
    """A rack's kernel arguments."""

    kernel_args: str


class RackOut(Answer):
    """A rack, which exists by its nodes or by its settings."""

    name: str
    kernel_args: str
    nodes: int


class RackList(Stated, Page):
    """Racks by name."""

    racks: list[RackOut]


class PinBody(Change):
    """A pin; ``change_role`` gives the node of a node pin that role in the same revision."""

    scope: str = Field(max_length=80)
    generation: str = Field(max_length=80)
    change_role: Name = ""


class UnpinQuery(MessageQuery):
    """Which pin to remove."""

    scope: str = Field(max_length=80)
    image: Name = ""


class PinOut(Answer):
    """A pin and how many nodes it decides for."""

    scope: str
    generation: str
    nodes: int


class PinList(Stated, Page):
    """Pins by scope."""

    pins: list[PinOut]


class RevisionOut(Answer):
    """A revision; ``at`` is seconds since the epoch."""

    number: int
    at: float
    author: str
    message: str


class RevisionQuery(PageQuery):
    """Newest first; ``before`` is a revision, only older ones than it are listed."""

    limit: int = Field(default=50, ge=1, le=1000)
    before: int | None = Field(default=None, ge=0, le=1 << 53)


class RevisionList(Page):
    """Revisions, the newest first."""

    revisions: list[RevisionOut]


class RollbackBody(Change):
    """Back to the pins of revision ``to``, with ``all`` to its nodes, roles and racks too.

    ``dry_run`` lists what cannot be restored and does nothing. Without ``partial``, anything on
    that list refuses the rollback.
    """

    to: int = Field(ge=0)
    all: bool = False
    dry_run: bool = False
    partial: bool = False


class CommitOut(Answer):
    """A committed change: its revision, how many nodes boot otherwise now, and warnings.

    ``unrestorable`` is a rollback's list. ``revision`` is null for a dry run.
    """

    commits: ClassVar[bool] = True
    revision: RevisionOut | None
    nodes_changed: int
    warnings: list[str]
    unrestorable: list[str] = []

    def revision_number(self) -> int | None:
        """The number of its revision."""
        return self.revision.number if self.revision else None
