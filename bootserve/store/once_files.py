"""One-shot actions on disk: a file for each that waits, gone before its node is answered.

These files, not the database, say what is still to be done: so a boot needs no database, and what
was handed out once is not handed out again after a crash. The journal says what became of each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from bootserve.errors import IntegrityError
from bootserve.model.generation import canonical_json
from bootserve.model.once import BootOnce, OnceAction
from bootserve.store.files import os_errors, sync_directory, write_atomic

__all__ = ["OnceFiles"]

PENDING, TAKEN = ".json", ".taken"


class OnceFiles:
    """The actions of one directory. Every method blocks.

    ``damaged`` tells of the files that could not be read; one must not keep a server from serving
    all others. Each method raises Refused, StorageFull or Unavailable when the file system refuses.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.damaged: list[IntegrityError] = []
        with os_errors(f"opening {directory}"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, once: BootOnce, suffix: str) -> Path:
        return self._directory / (once.id + suffix)

    def put(self, once: BootOnce) -> None:
        """Write down that ``once`` waits; durable on return."""
        fields = {
            "node": once.node,
            "action": once.action.value,
            "generation": once.generation,
            "script": once.script,
            "set_by": once.set_by,
            "set_at": repr(once.set_at),
        }
        with os_errors(f"keeping the boot-once action of {once.node}"):
            write_atomic(self._path(once, PENDING), canonical_json(fields))

    def take(self, once: BootOnce) -> None:
        """Make ``once`` one that waits no more; durable on return, and needs no room on the disk.

        It can still be found by :meth:`taken`, until :meth:`drop`.
        """
        with os_errors(f"taking the boot-once action of {once.node}"):
            self._path(once, PENDING).replace(self._path(once, TAKEN))
            sync_directory(self._directory)

    def drop(self, once: BootOnce) -> None:
        """Forget ``once``, whether it waits or was taken."""
        with os_errors(f"dropping the boot-once action of {once.node}"):
            for suffix in (PENDING, TAKEN):
                self._path(once, suffix).unlink(missing_ok=True)
            sync_directory(self._directory)

    def pending(self) -> Sequence[BootOnce]:
        """Return the actions that wait, the oldest first; files that are damaged are left out."""
        return self._read(PENDING)

    def taken(self) -> Sequence[BootOnce]:
        """Return the actions that were taken and not dropped, as after a crash in between."""
        return self._read(TAKEN)

    def _read(self, suffix: str) -> Sequence[BootOnce]:
        with os_errors(f"reading {self._directory}"):
            paths = [p for p in self._directory.iterdir() if p.suffix == suffix]
            found = []
            for path in paths:
                try:
                    found.append(_parse(path, path.read_bytes()))
                except IntegrityError as error:
                    self.damaged.append(error)
        return sorted(found, key=lambda once: (once.set_at, once.id))


def _parse(path: Path, data: bytes) -> BootOnce:
    try:
        if not re.fullmatch("[0-9a-f]{32}", path.stem):
            raise ValueError("it is not named by an id")
        fields = json.loads(data)
        return BootOnce(
            id=path.stem,
            node=fields["node"],
            action=OnceAction(fields["action"]),
            generation=fields["generation"],
            script=fields["script"],
            set_by=fields["set_by"],
            set_at=float(fields["set_at"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"the boot-once action in {path} cannot be read: {error}",
            hint="Delete the file, and set the action again.",
        ) from None
