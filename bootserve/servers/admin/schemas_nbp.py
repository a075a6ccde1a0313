"""The API's bodies and answers about NBPs."""

from __future__ import annotations

from pydantic import Field

from bootserve.model.nbp import NbpArch
from bootserve.servers.admin.paging import Page, PageQuery
from bootserve.servers.admin.routing import Answer, Request
from bootserve.servers.admin.schemas import Change, MessageQuery, Stated

__all__ = [
    "NbpAdded",
    "NbpBody",
    "NbpChoiceOut",
    "NbpList",
    "NbpOut",
    "NbpPinBody",
    "NbpPinOut",
    "NbpQuery",
    "NbpUnpinQuery",
]


class NbpBody(Request):
    """An NBP whose file has been uploaded as an artifact; ``digest`` is its sha256 in hex."""

    name: str = Field(max_length=50)
    arch: NbpArch
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class NbpOut(Answer):
    """An NBP. ``file`` is the name it is offered by; ``stored`` whether its file is there."""

    name: str
    arch: NbpArch
    digest: str
    size: int
    file: str
    added_at: float
    added_by: str
    removed_at: float | None
    stored: bool


class NbpAdded(Answer):
    """The NBP that has this name and file; ``created`` is false when it was there already."""

    nbp: NbpOut
    created: bool


class NbpPinOut(Answer):
    """A pin of an NBP, and for how many nodes it decides."""

    scope: str
    arch: NbpArch
    nbp: str
    nodes: int


class NbpQuery(PageQuery):
    """Which NBPs to list."""

    removed: bool = False


class NbpList(Stated, Page):
    """NBPs by name, and after them their pins by scope."""

    nbps: list[NbpOut]
    pins: list[NbpPinOut]


class NbpPinBody(Change):
    """A pin of an NBP, for the firmware that the NBP is built for."""

    scope: str = Field(max_length=80)
    nbp: str = Field(max_length=50)


class NbpUnpinQuery(MessageQuery):
    """Which pin to remove."""

    scope: str = Field(max_length=80)
    arch: NbpArch | None = None


class NbpChoiceOut(Answer):
    """What is pinned for one kind of a node's firmware; ``problem`` says why it gets none."""

    arch: NbpArch
    nbp: str
    scope: str
    problem: str
