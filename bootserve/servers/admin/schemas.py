"""The API's bodies and answers: what validates a request also describes it in OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from bootserve.model.desired import BootFrom
from bootserve.model.names import Arch
from bootserve.servers.admin.routing import Answer, Query, Request

__all__ = [
    "AdoptBody",
    "BootList",
    "BootOut",
    "BootQuery",
    "CommitOut",
    "DiscoveredList",
    "DiscoveredOut",
    "ExplainOut",
    "GenerationList",
    "GenerationOut",
    "GenerationQuery",
    "ImportBody",
    "ImportOut",
    "LostPinOut",
    "MessageQuery",
    "NodeBody",
    "NodeList",
    "NodeOut",
    "NodePatch",
    "PhaseOut",
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
    "ScrubOut",
    "StatusOut",
    "UnpinQuery",
    "UploadOut",
    "UploadQuery",
    "VerifyOut",
]

Message = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(max_length=63)]
Base = Annotated[int | None, Field(ge=0)]


class Change(Request):
    """A change's message, and the revision it was thought up against, if that matters."""

    message: Message = ""
    base: Base = None


class MessageQuery(Query):
    """The same for a DELETE, which has no body."""

    message: Message = ""
    base: Base = None


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
    action: str
    generation: str
    reason: str


class NodeList(Answer):
    """Nodes by name."""

    revision: int
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


class RoleList(Answer):
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


class RackList(Answer):
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


class PinList(Answer):
    """Pins by scope."""

    revision: int
    pins: list[PinOut]


class RevisionOut(Answer):
    """A revision; ``at`` is seconds since the epoch."""

    number: int
    at: float
    author: str
    message: str


class RevisionQuery(Query):
    """Newest first; ``before`` pages on."""

    limit: int = Field(default=50, ge=1, le=1000)
    before: int | None = None


class RevisionList(Answer):
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

    revision: RevisionOut | None
    nodes_changed: int
    warnings: list[str]
    unrestorable: list[str] = []


class GenerationQuery(Query):
    """Which generations to list."""

    image: Name = ""
    removed: bool = False


class GenerationOut(Answer):
    """A generation. ``manifest`` is there when one is asked for, not in lists."""

    name: str
    digest: str
    arch: Arch
    size: int
    imported_at: float
    imported_by: str
    removed_at: float | None
    used_by: list[str] = []
    manifest: dict[str, Any] | None = None


class GenerationList(Answer):
    """Generations by image and number."""

    generations: list[GenerationOut]


class ImportBody(Request):
    """Registers a generation whose artifacts have been uploaded; ``manifest`` is its text."""

    manifest: str = Field(max_length=4 << 20)


class ImportOut(Answer):
    """The generation that has this manifest; ``created`` is false when it was there already."""

    generation: GenerationOut
    created: bool


class VerifyOut(Answer):
    """The artifacts of a generation, re-read: name to ``ok``, ``corrupt`` or ``missing``."""

    name: str
    artifacts: dict[str, str]
    intact: bool


class ScrubOut(Answer):
    """What a scrub of the whole store found."""

    checked: int
    quarantined: list[str]


class UploadQuery(Query):
    """Where the bytes of a PUT belong, and the artifact's whole size, in bytes."""

    offset: int = Field(default=0, ge=0)
    size: int = Field(ge=0)


class UploadOut(Answer):
    """How much of an artifact has been received, in bytes."""

    offset: int
    complete: bool


class PhaseOut(Answer):
    """A phase of a boot."""

    phase: str
    at: float
    detail: str


class BootOut(Answer):
    """A boot and its phases. ``root`` is the root digest that the node itself reported."""

    id: str
    node: str
    mac: str
    generation: str
    digest: str
    revision: int
    at: float
    address: str
    phases: list[PhaseOut]
    reported_generation: str = ""
    reported_root: str = ""


class BootQuery(Query):
    """Newest first; ``before`` is the id of a boot, only older ones than it are listed."""

    node: Name = ""
    limit: int = Field(default=50, ge=1, le=1000)
    before: str | None = Field(default=None, max_length=64)


class BootList(Answer):
    """Boots, the newest first."""

    boots: list[BootOut]


class DiscoveredOut(Answer):
    """A machine that is no node; times are seconds since the epoch."""

    mac: str
    first_seen: float
    last_seen: float
    count: int
    arch: str
    uuid: str
    vendor_class: str
    serial: str
    manufacturer: str
    product: str


class DiscoveredList(Answer):
    """Discovered machines, the latest first."""

    machines: list[DiscoveredOut]


class LostPinOut(Answer):
    """A pin that does not decide, and why."""

    scope: str
    generation: str
    reason: str


class ExplainOut(Answer):
    """A node's next boot and every reason for it; ``script`` is what it would be served now."""

    node: NodeOut
    revision: int
    image: str
    image_from: str
    pin: str
    lost: list[LostPinOut]
    kernel_args: list[tuple[str, str]]
    script: str
    last_boot: BootOut | None


class StatusOut(Answer):
    """The server's own state."""

    version: str
    interface: str
    address: str
    http_base: str
    started_at: float
    ready: bool
    problems: list[str]
    revision: RevisionOut
    nodes: int
    pins: int
    generations: int
    discovered: int
    unknown: str
    journal_sequence: int
    journal_applied: int
    journal_lost: int
    journal_full: bool
    quarantined: list[str]
    up: int
    boots_last_hour: int
