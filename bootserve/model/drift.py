"""What differs on a running node from what it booted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["DriftChange", "DriftEntry", "DriftKind", "DriftState", "Heartbeat"]


class DriftState(StrEnum):
    """What is wrong with a node; DESIGN's words.

    ``stale``: it runs another generation than its pin. ``altered``: something was written, changed
    or deleted since it came up, outside declared paths. ``silent``: expected and not heard from.
    """

    STALE = "stale"
    ALTERED = "altered"
    SILENT = "silent"


class DriftKind(StrEnum):
    """What became of a path.

    ``written`` was not there, ``changed`` has another content or is another kind of file,
    ``mode`` has another mode, owner or attributes and the same content, ``deleted`` is gone.
    ``mount`` is a new mount over the root, ``sysctl`` a kernel setting (its path is below
    /proc/sys), ``module`` a kernel module that was loaded (/sys/module/NAME), ``taint`` the
    kernel's taint flags.
    """

    WRITTEN = "written"
    CHANGED = "changed"
    MODE = "mode"
    DELETED = "deleted"
    MOUNT = "mount"
    SYSCTL = "sysctl"
    MODULE = "module"
    TAINT = "taint"


@dataclass(frozen=True, slots=True)
class DriftEntry:
    """One difference, as the node told it.

    ``type`` is ``file``, ``directory``, ``link``, ``device``, ``fifo``, ``socket`` or empty;
    ``mode`` is octal, ``owner`` is ``USER:GROUP``; ``size`` is in bytes; ``mtime`` is seconds since
    the epoch on the node's clock, 0 when there is none; ``sha256`` is empty for what was not read;
    ``detail`` is a link's target, the old and the new value of a setting, what is mounted.
    """

    kind: DriftKind
    path: str
    type: str = ""
    mode: str = ""
    owner: str = ""
    size: int = 0
    mtime: float = 0.0
    sha256: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a node says of itself at each heartbeat.

    ``generation`` is as the kernel command line has it; ``root`` is the digest of the device that
    was found to be the root at up, empty when another is mounted now; ``uptime`` is in seconds;
    ``clock`` is the node's clock when it spoke, seconds since the epoch, or None. ``baseline`` is
    the sha256 of the snapshot taken at up, ``drift`` that of the text of its drift, empty for no
    drift; either is ``unknown`` on a node that cannot tell. ``rebooting`` is the id of the request
    to reboot that the node now follows.
    """

    generation: str
    root: str
    uptime: float
    clock: float | None = None
    baseline: str = ""
    drift: str = ""
    rebooting: str = ""


@dataclass(frozen=True, slots=True)
class DriftChange:
    """One line of a node's drift history: what it became, when, in which boot.

    ``state`` is ``altered``, ``unaltered``, ``silent`` or ``heard``; ``count`` is the number of
    entries there were, of which ``entries`` may be fewer.
    """

    node: str
    boot: str
    at: float
    state: str
    count: int = 0
    digest: str = ""
    entries: tuple[DriftEntry, ...] = ()
