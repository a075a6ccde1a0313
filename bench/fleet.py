"""A state directory with many nodes, written straight to the store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from bootserve.model.desired import DesiredState, Node, Pin, Role, Scope
from bootserve.model.generation import Artifact, GenerationRef, Manifest
from bootserve.model.names import Arch
from bootserve.store.artifacts import DirectoryStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.desired import DesiredStore
from bootserve.store.generations import GenerationStore

__all__ = ["add_artifact", "mac_of", "make_state"]

_CHUNK = 1 << 20


def mac_of(number: int) -> str:
    """Return the MAC address of node ``number``; the generators in ``bench/c`` make the same."""
    return f"52:54:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:" + (
        f"{number >> 8 & 255:02x}:{number & 255:02x}"
    )


def make_state(folder: Path, nodes: int) -> None:
    """Write a database of ``nodes`` nodes in racks of 40 to ``folder``.

    There are two generations, ``web@1`` and ``web@2``; all nodes are pinned to the first.
    """
    folder.mkdir(parents=True)
    database = Database.open(sqlite_url(folder / "bootserve.db"))
    artifacts = {
        name: Artifact(sha256=f"{place}" * 64, size=1)
        for place, name in enumerate(("kernel", "initrd", "root"))
    }
    generations = GenerationStore(database)
    for cmdline in ("quiet", "quiet net.ifnames=0"):
        manifest = Manifest(image="web", arch=Arch.AMD64, artifacts=artifacts, cmdline=cmdline)
        generations.register(manifest, at=1.0, by="bench")
    pin = Pin(Scope.parse("role/compute"), GenerationRef("web", 1))
    fleet = [
        Node(f"n{number}", (mac_of(number),), rack=f"r{number // 40}", role="compute")
        for number in range(nodes)
    ]
    state = DesiredState(
        nodes={node.name: node for node in fleet},
        roles={"compute": Role("compute", "web", "console=ttyS0")},
        pins={pin.key: pin},
    )
    DesiredStore(database).commit(
        0, state, old=DesiredState(), author="bench", message=f"{nodes} nodes", at=1.0
    )
    database.close()


def add_artifact(folder: Path, size: int) -> Path:
    """Put ``size`` random bytes into the artifact store of ``folder`` and return their file."""
    store = DirectoryStore(folder / "artifacts")
    fresh = folder / "artifact"
    digest = hashlib.sha256()
    with fresh.open("wb") as file:
        for start in range(0, size, _CHUNK):
            chunk = os.urandom(min(_CHUNK, size - start))
            digest.update(chunk)
            file.write(chunk)
        os.fsync(file.fileno())
    target = folder / "artifacts/sha256" / digest.hexdigest()[:2] / digest.hexdigest()
    target.parent.mkdir(exist_ok=True)
    fresh.rename(target)
    assert store.size(target.name) == size
    return target
