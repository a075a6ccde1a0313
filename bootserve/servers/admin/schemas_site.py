"""The API's bodies and answers about the desired state as a whole: state, plan, apply."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from bootserve.core.site.effects import EffectKind
from bootserve.servers.admin.routing import Answer, Query, Request
from bootserve.servers.admin.schemas import Message, RevisionOut

__all__ = [
    "ApplyBody",
    "ChangesBody",
    "ChangesOut",
    "EffectOut",
    "PlanBody",
    "PlanOut",
    "SinceQuery",
    "StateOut",
]

_FIELDS: dict[str, Any] = {
    "type": "object",
    "description": "Fields by name, or null to remove it; a node has macs (a list), rack, role,"
    " arch, image, kernel_args, boot, nbp, shape and labels, a role image and kernel_args, a rack"
    " kernel_args. A field that is left out has its default.",
    "additionalProperties": {"anyOf": [{"type": "object"}, {"type": "null"}]},
}
# Checked one by one where that does not hold up the loop.
ByName = Annotated[dict[str, Any], WithJsonSchema(_FIELDS)]
Pins = list[dict[str, str | None]]


class ChangesBody(Request):
    """What to change.

    A pin has scope, image and generation, an NBP pin scope, arch and nbp; a null generation or nbp
    removes it.
    """

    nodes: ByName = {}
    roles: ByName = {}
    racks: ByName = {}
    pins: Pins = []
    nbp_pins: Pins = []


class PlanBody(Request):
    """Changes, and the revision that they were thought up against."""

    base: int = Field(ge=0)
    changes: ChangesBody


class ApplyBody(PlanBody):
    """The same, to be done as one revision."""

    message: Message = ""


class EffectOut(Answer):
    """One thing that becomes of some nodes of a rack (of none, when it is empty).

    ``before`` and ``after`` are what they boot; for ``nbp`` the boot program, for ``settings`` the
    fields that change (``after``); for ``unchanged`` an image whose pin changes above them, and
    which kind of pin counts in its place.
    """

    kind: EffectKind
    rack: str
    before: str
    after: str
    nodes: list[str]


class PlanOut(Answer):
    """What changes come to; ``sentences`` say the same in words."""

    base: int
    effects: list[EffectOut]
    sentences: list[str]
    warnings: list[str]


class SinceQuery(Query):
    """What has changed since this revision."""

    since: int = Field(ge=0)


class ChangesOut(Answer):
    """The revisions since one, the newest first, and what became of nodes in all of them."""

    revision: int
    revisions: list[RevisionOut]
    effects: list[EffectOut]
    sentences: list[str]


class StateOut(Answer):
    """The whole desired state, in the form of the changes that make it out of nothing."""

    revision: int
    nodes: dict[str, dict[str, Any]]
    roles: dict[str, dict[str, Any]]
    racks: dict[str, dict[str, Any]]
    pins: list[dict[str, str]]
    nbp_pins: list[dict[str, str]]

    def revision_number(self) -> int | None:
        """The revision that the state is of."""
        return self.revision
