"""Small desired states and generations, made in a line."""

from __future__ import annotations

import hashlib
from typing import Any

from bootserve.core.snapshot import Snapshot, build_snapshot
from bootserve.model.desired import DesiredState, Node, Pin, Rack, Revision, Role, Scope
from bootserve.model.generation import Artifact, Generation, GenerationRef, Manifest, Revocation
from bootserve.model.names import Arch

SITE = "5f0c7a52b4d14e0fa1f5b1d6f0a1c9e7"
MAC = "52:54:00:00:00:01"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(image: str = "web", text: str = "1", **fields: Any) -> Manifest:
    artifacts = {
        name: Artifact(sha256=digest(f"{image} {text} {name}"), size=size)
        for name, size in (("kernel", 100), ("initrd", 200), ("root", 4096))
    }
    return Manifest(image=image, arch=fields.pop("arch", Arch.AMD64), artifacts=artifacts, **fields)


def generation(name: str, *, removed: bool = False, revoked: str = "", **fields: Any) -> Generation:
    """``revoked`` is why it is, if it is."""
    ref = GenerationRef.parse(name)
    one = manifest(ref.image, str(ref.number), **fields)
    return Generation(
        ref,
        one.digest,
        one,
        1.0,
        "root",
        removed_at=2.0 if removed else None,
        revoked=Revocation(3.0, "ada", revoked) if revoked else None,
    )


def node(name: str = "n1", mac: str = MAC, **fields: Any) -> Node:
    return Node(name, (mac,), **fields)


def state(
    *nodes: Node, pins: str = "", roles: str = "compute=web", racks: tuple[Rack, ...] = ()
) -> DesiredState:
    """``pins`` is ``SCOPE IMAGE@N; …``, ``roles`` is ``NAME=IMAGE …``."""
    made = []
    for text in filter(None, pins.split(";")):
        scope, ref = text.split()
        made.append(Pin(Scope.parse(scope), GenerationRef.parse(ref)))
    pairs = [text.split("=") for text in roles.split()]
    return DesiredState(
        nodes={one.name: one for one in nodes},
        roles={name: Role(name, image) for name, image in pairs},
        racks={rack.name: rack for rack in racks},
        pins={one.key: one for one in made},
    )


def snapshot(desired: DesiredState, *generations: Generation, revision: int = 1) -> Snapshot:
    return build_snapshot(
        Revision(revision, 1.0, "root", "a test"),
        desired,
        {one.ref: one for one in generations},
        SITE,
    )
