"""What was learned of nodes' NICs, in one file: for a start while the database is away.

The bus ids are in no database: another server hears them from the node's next iPXE.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from bootserve.errors import IntegrityError
from bootserve.model.names import Mac
from bootserve.model.shape import SHAPES, LearnedShape
from bootserve.store.files import os_errors, write_atomic

__all__ = ["load_shapes", "save_shapes"]

_MAGIC = b"bootserve-shapes-2 "


def save_shapes(path: Path, learned: Iterable[LearnedShape], bus_ids: Mapping[Mac, str]) -> None:
    """Write it to ``path``, atomically: a line with the sha256 of the rest, then JSON.

    Raises Refused, StorageFull or Unavailable; the old file is then still there.
    """
    rows = sorted((one.mac, one.shape, one.at) for one in learned)
    both = {"shapes": rows, "bus_ids": dict(bus_ids)}
    body = json.dumps(both, separators=(",", ":")).encode()
    head = _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n"
    with os_errors(f"saving the learned shapes to {path}"):
        write_atomic(path, head + body)


def load_shapes(path: Path) -> tuple[list[LearnedShape], dict[Mac, str]]:
    """Return what :func:`save_shapes` wrote to ``path``; nothing when there is no such file.

    Raises IntegrityError when it is not whole, Refused or Unavailable when it cannot be read.
    """
    with os_errors(f"reading the learned shapes in {path}"):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return [], {}
    head, _, body = data.partition(b"\n")
    if head != _MAGIC + hashlib.sha256(body).hexdigest().encode():
        raise IntegrityError(
            f"the learned shapes in {path} are damaged",
            hint="Delete the file; it is written again from the database and the next boots.",
        )
    read = json.loads(body)
    learned = [LearnedShape(*row) for row in read["shapes"] if row[1] in SHAPES]
    return learned, read["bus_ids"]
