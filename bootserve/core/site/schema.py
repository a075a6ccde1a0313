"""What a ``site.yaml`` may hold: the models that validate it are also its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from bootserve.model.desired import BootFrom
from bootserve.model.names import Arch
from bootserve.model.nbp import NbpArch
from bootserve.model.shape import ShapeSetting

__all__ = ["NodeEntry", "RackEntry", "RoleEntry", "Settings", "SiteFile", "json_schema"]

_TEXT: dict[str, Any] = {"type": ["string", "number", "boolean"]}


def _nothing_is_empty(value: Any) -> Any:
    """Return an empty mapping for a key without a value."""
    return {} if value == "" else value


def _one_is_a_list(value: Any) -> Any:
    return [value] if isinstance(value, str) and value else value or []


Optional = BeforeValidator(_nothing_is_empty)
Name = Annotated[str, Field(max_length=63)]
Label = Annotated[str, WithJsonSchema(_TEXT)]
KernelArgs = Annotated[
    str | None,
    Field(description="Added to the kernel command line: the role's, the rack's, the node's."),
]
_GENERATION: dict[str, Any] = {
    "type": "string",
    "pattern": "^[a-z0-9]([a-z0-9._-]*[a-z0-9])?@[1-9][0-9]{0,8}$",
    "description": "IMAGE@N; a scope has at most one of each image",
}
Generations = Annotated[
    list[str],
    BeforeValidator(_one_is_a_list),
    WithJsonSchema({"anyOf": [_GENERATION, {"type": "array", "items": _GENERATION}]}),
]
Format = Annotated[
    Literal[1], BeforeValidator(lambda value: 1 if value == "1" else value), Field(description="1")
]
Scope = Annotated[str, Field(description="node/NAME, rack/NAME, role/NAME or site")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Settings(_Entry):
    """What nodes can have in common. A node's own setting counts, then its rack's default."""

    role: Name | None = Field(None, description="The role, which names the image.")
    arch: Arch | None = Field(None, description="The architecture; amd64 when nobody says.")
    image: Name | None = Field(None, description="An image in place of the role's.")
    kernel_args: KernelArgs = None
    boot: BootFrom | None = Field(None, description="network, or local for the node's own disk.")
    nbp: str | None = Field(
        None, max_length=127, description="Another boot program from nbp_dir: snponly.efi."
    )
    shape: ShapeSetting | None = Field(
        None, description="Shape of the offer to its UEFI PXE firmware; auto finds out."
    )
    labels: Annotated[dict[str, Label], Optional] = Field(
        default_factory=dict, description="Labels; those of the defaults are added."
    )


class NodeEntry(Settings):
    """A node, or each node of a host list."""

    rack: Name | None = Field(None, description="The rack, for nodes that stand outside 'racks'.")
    macs: str | list[str] | dict[str, str | list[str]] = Field(
        description="A MAC address; a pattern that counts along with the host list"
        " (3c:ec:ef:00:00:[01-28], hexadecimal); a list; or a table by node."
        " Each entry of a list is one NIC of every node, or all entries together name one NIC each."
    )
    each: Annotated[dict[str, str], Optional] = Field(
        default_factory=dict,
        description="Labels whose values count along with the host list: address: 10.1.0.[11-50].",
    )


class RoleEntry(_Entry):
    """A kind of node, and the image that its nodes run."""

    image: Name = Field(description="The image that nodes of this role run.")
    kernel_args: KernelArgs = None


class RackEntry(_Entry):
    """A rack: its settings and its nodes."""

    kernel_args: KernelArgs = None
    defaults: Annotated[Settings, Optional] = Field(
        default_factory=Settings, description="What its nodes have in common."
    )
    nodes: Annotated[dict[str, NodeEntry], Optional] = Field(
        default_factory=dict, description="Nodes by name or host list: r12n[01-40]."
    )


class SiteFile(_Entry):
    """The desired state of a site. A section that is left out is left as it is on the server.

    ``racks`` and ``nodes`` are one section: naming either, the file names every node.
    """

    format: Format = 1
    defaults: Annotated[Settings, Optional] = Field(
        default_factory=Settings, description="What all nodes have in common."
    )
    roles: Annotated[dict[str, RoleEntry], Optional] | None = Field(
        None, description="Roles by name."
    )
    racks: Annotated[dict[str, Annotated[RackEntry, Optional]], Optional] | None = Field(
        None, description="Racks by name, with their nodes."
    )
    nodes: Annotated[dict[str, NodeEntry], Optional] | None = Field(
        None, description="Nodes of no rack, by name or host list."
    )
    pins: Annotated[dict[Scope, Generations], Optional] | None = Field(
        None, description="Generations by scope: rack/r12: k8s-node@41."
    )
    nbp_pins: Annotated[dict[Scope, dict[NbpArch, str]], Optional] | None = Field(
        None, description="Names of NBPs by scope (node, rack, site) and kind of firmware."
    )


def json_schema() -> str:
    """Return the JSON Schema (2020-12) of ``site.yaml``, as an editor reads it."""
    schema = SiteFile.model_json_schema()
    _without_null(schema)
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    named["title"] = "bootserve site.yaml"
    return json.dumps(named, indent=2) + "\n"


def _without_null(schema: Any) -> None:
    """Take the defaults that say "not given" out of ``schema``: no file writes null."""
    children: Sequence[Any] = ()
    if isinstance(schema, dict):
        kinds = schema.get("anyOf")
        if isinstance(kinds, list) and {"type": "null"} in kinds:
            rest = [one for one in kinds if one != {"type": "null"}]
            del schema["anyOf"]
            schema.update(rest[0] if len(rest) == 1 else {"anyOf": rest})
        if schema.get("default", 0) is None:
            del schema["default"]
        children = list(schema.values())
    elif isinstance(schema, list):
        children = schema
    for child in children:
        _without_null(child)
