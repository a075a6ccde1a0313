"""The API's bodies and answers about what exists and what happened: generations, boots, status."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from bootserve.model.names import Arch
from bootserve.servers.admin.paging import Page, PageQuery
from bootserve.servers.admin.routing import Answer, Query, Request
from bootserve.servers.admin.schemas import Message, Name, NodeOut, RevisionOut, Stated
from bootserve.servers.admin.schemas_live import OnceOut
from bootserve.servers.admin.schemas_nbp import NbpChoiceOut

__all__ = [
    "BootList",
    "BootOut",
    "BootQuery",
    "DiscoveredList",
    "DiscoveredOut",
    "ExplainOut",
    "GenerationList",
    "GenerationOut",
    "GenerationQuery",
    "ImportBody",
    "ImportOut",
    "LostPinOut",
    "OfferOut",
    "PhaseOut",
    "RevocationOut",
    "RevokeBody",
    "ScrubOut",
    "SegmentOut",
    "StatusOut",
    "UploadOut",
    "UploadQuery",
    "VerifyOut",
]


class GenerationQuery(PageQuery):
    """Which generations to list."""

    image: Name = ""
    removed: bool = False


class RevocationOut(Answer):
    """That no node is to be given a generation any more: when, by whom and why."""

    at: float
    by: str
    reason: str


class RevokeBody(Request):
    """Why a generation is revoked, or is not any more."""

    reason: Message = Field(min_length=1)


class GenerationOut(Answer):
    """A generation. ``manifest`` is there when one is asked for, not in lists.

    ``damaged`` says what is wrong with the manifest that is stored; then architecture, size and
    manifest are not known.
    """

    name: str
    digest: str
    arch: Arch
    size: int
    imported_at: float
    imported_by: str
    removed_at: float | None
    revoked: RevocationOut | None = None
    damaged: str = ""
    used_by: list[str] = []
    manifest: dict[str, Any] | None = None


class GenerationList(Page):
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
    """The artifacts of a generation, re-read: name to ``ok``, ``corrupt`` or ``missing``.

    A corrupt one is in quarantine now, and no longer served.
    """

    name: str
    artifacts: dict[str, str]
    intact: bool


class ScrubOut(Answer):
    """What a scrub of the whole store found."""

    checked: int
    quarantined: list[str]


class UploadQuery(Query):
    """Where the bytes of a PUT belong, and the artifact's whole size, in bytes."""

    offset: int = Field(default=0, ge=0, le=1 << 53)
    size: int = Field(ge=0, le=1 << 53)


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
    """A boot and its phases.

    ``reported_root`` is the root digest that the node itself reported; ``ipxe`` the version and
    features that its iPXE said it has, empty when it was not heard.
    """

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
    ipxe: str = ""


class BootQuery(PageQuery):
    """Newest first; ``before`` is the id of a boot, only older ones than it are listed."""

    node: Name = ""
    limit: int = Field(default=50, ge=1, le=1000)
    before: str | None = Field(default=None, max_length=64)


class BootList(Page):
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


class DiscoveredList(Page):
    """Discovered machines, by MAC."""

    machines: list[DiscoveredOut]


class LostPinOut(Answer):
    """A pin that does not decide, and why."""

    scope: str
    generation: str
    reason: str


class OfferOut(Answer):
    """The shape of the next offer to a NIC's UEFI PXE firmware, and where it comes from.

    ``source`` is setting, trial, learned, quirk or default; ``detail`` is the quirk's source,
    ``at`` when the shape was learned (seconds since the epoch, else 0).
    """

    mac: str
    shape: str
    source: str
    detail: str
    at: float


class ExplainOut(Stated):
    """A node's next boot and every reason for it; ``script`` is what it would be served now.

    ``waits`` says why a node in a loop gets nothing now, ``once`` what its next boot only does,
    ``degraded`` which generation it is given in place of its pin's and why.
    """

    node: NodeOut
    image: str
    image_from: str
    pin: str
    lost: list[LostPinOut]
    kernel_args: list[tuple[str, str]]
    waits: str
    degraded: str = ""
    once: OnceOut | None
    nbps: list[NbpChoiceOut]
    script: str
    offers: list[OfferOut]
    last_boot: BootOut | None


class SegmentOut(Answer):
    """One interface that is served, its advertised address, and the boot plane's URL there."""

    interface: str
    address: str
    http_base: str


class StatusOut(Answer):
    """The server's own state; ``degraded`` are the nodes on their last known good generation."""

    version: str
    segments: list[SegmentOut]
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
    degraded: list[str] = []
