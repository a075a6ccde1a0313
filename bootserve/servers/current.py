"""What every server answers from: the snapshot and the scripts in force, swapped whole."""

from __future__ import annotations

from dataclasses import dataclass

from bootserve.core.scripts import ScriptRenderer
from bootserve.core.snapshot import Snapshot

__all__ = ["Current"]


@dataclass(slots=True)
class Current:
    """The one mutable place of the boot plane; each attribute is replaced, never changed."""

    snapshot: Snapshot
    scripts: ScriptRenderer
