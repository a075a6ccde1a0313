"""The journal's records: what the boot plane saw, one frozen type a kind.

In a journal line a record is a JSON object whose ``kind`` names its type. Times (``at``) are
seconds since the epoch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bootserve.errors import InvalidInput
from bootserve.model.boot import Boot, Phase
from bootserve.model.generation import GenerationRef
from bootserve.model.once import OnceOutcome
from bootserve.model.shape import SHAPES

__all__ = [
    "MAX_DETAIL",
    "BootRecord",
    "DegradedRecord",
    "DiscoveredRecord",
    "DriftRecord",
    "FailureRecord",
    "GapRecord",
    "JournalRecord",
    "OnceRecord",
    "PhaseRecord",
    "ReportRecord",
    "SealRecord",
    "ShapeRecord",
    "TokenRecord",
    "first_line",
    "record_from_dict",
    "record_to_dict",
    "seen_at",
]

MAX_DETAIL = 16 << 10
"""Characters kept of a report's text: its first line, which says what happened, and its end."""


@dataclass(frozen=True, slots=True)
class BootRecord:
    """A boot was minted: its script is about to be served."""

    kind: ClassVar[str] = "boot"
    id: str
    node: str
    mac: str
    generation: str
    digest: str
    revision: int
    at: float
    address: str

    @classmethod
    def of(cls, boot: Boot) -> BootRecord:
        """Return the record of ``boot``."""
        return cls(
            id=boot.id,
            node=boot.node,
            mac=boot.mac,
            generation=str(boot.generation),
            digest=boot.digest,
            revision=boot.revision,
            at=boot.minted_at,
            address=boot.address,
        )

    def boot(self) -> Boot:
        """Return the boot; raises InvalidInput when its generation is not ``IMAGE@N``."""
        return Boot(
            id=self.id,
            node=self.node,
            mac=self.mac,
            generation=GenerationRef.parse(self.generation),
            digest=self.digest,
            revision=self.revision,
            minted_at=self.at,
            address=self.address,
        )


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """A phase of a boot was seen. ``boot`` is the boot's id, ``phase`` a value of Phase."""

    kind: ClassVar[str] = "phase"
    boot: str
    phase: str
    at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A boot id was traded for a token; ``hash`` is the sha256 of the token, in hex."""

    kind: ClassVar[str] = "token"
    boot: str
    hash: str
    at: float


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """What a node said of itself.

    ``generation`` (``IMAGE@N``) and ``root`` (the root's digest, hex) are what it really runs;
    ``uptime`` is in seconds; ``detail`` is its message or the end of its log.
    """

    kind: ClassVar[str] = "report"
    boot: str
    phase: str
    at: float
    generation: str = ""
    root: str = ""
    uptime: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DiscoveredRecord:
    """A machine that is no node asked to boot; the other fields are its firmware's words."""

    kind: ClassVar[str] = "discovered"
    mac: str
    at: float
    arch: str = ""
    uuid: str = ""
    vendor_class: str = ""
    serial: str = ""
    manufacturer: str = ""
    product: str = ""


@dataclass(frozen=True, slots=True)
class ShapeRecord:
    """A shape of offer worked for a node's NIC after the other had not (``pxe10``, ``binl``)."""

    kind: ClassVar[str] = "shape"
    mac: str
    node: str
    shape: str
    at: float


@dataclass(frozen=True, slots=True)
class OnceRecord:
    """Something became of a one-shot action: ``outcome`` is a value of OnceOutcome.

    ``by`` is who set, cancelled or replaced it. What it is stands in the record that set it; which
    boot consumed it (``boot`` is empty when no generation was booted) in the one that ended it.
    """

    kind: ClassVar[str] = "once"
    id: str
    node: str
    at: float
    outcome: str
    action: str = ""
    generation: str = ""
    script: str = ""
    by: str = ""
    mac: str = ""
    address: str = ""
    boot: str = ""


@dataclass(frozen=True, slots=True)
class SealRecord:
    """The snapshot that a node took of its upper layer at up: its sha256, in hex, is sealed."""

    kind: ClassVar[str] = "seal"
    boot: str
    node: str
    at: float
    baseline: str


@dataclass(frozen=True, slots=True)
class DriftRecord:
    """A node's drift changed: ``state`` as in DriftChange.

    ``digest`` is the sha256 of its drift's text, ``count`` how many differences there are, and
    ``entries`` those that were told, as JSON.
    """

    kind: ClassVar[str] = "drift"
    node: str
    boot: str
    at: float
    state: str
    count: int = 0
    digest: str = ""
    entries: str = ""


@dataclass(frozen=True, slots=True)
class DegradedRecord:
    """A node is given its last known good generation, since then; ``ended`` says what ended it."""

    kind: ClassVar[str] = "degraded"
    node: str
    at: float
    since: float
    generation: str
    instead_of: str
    reason: str
    boot: str
    ended: str = ""


@dataclass(frozen=True, slots=True)
class GapRecord:
    """``count`` records were lost between ``first_at`` and ``last_at``."""

    kind: ClassVar[str] = "gap"
    count: int
    first_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """Changes could not be recorded: ``what`` failed, with ``error``.

    ``error`` is empty in the record of its end. ``count`` writes have failed since ``since``.
    """

    kind: ClassVar[str] = "failure"
    at: float
    what: str
    error: str
    count: int
    since: float


JournalRecord = (
    BootRecord
    | PhaseRecord
    | TokenRecord
    | ReportRecord
    | DiscoveredRecord
    | ShapeRecord
    | OnceRecord
    | DegradedRecord
    | SealRecord
    | DriftRecord
    | FailureRecord
    | GapRecord
)

_TYPES: Mapping[str, type[Any]] = {
    kind.kind: kind
    for kind in (
        BootRecord,
        PhaseRecord,
        TokenRecord,
        ReportRecord,
        DiscoveredRecord,
        ShapeRecord,
        OnceRecord,
        DegradedRecord,
        SealRecord,
        DriftRecord,
        FailureRecord,
        GapRecord,
    )
}
_NAMES = {kind: tuple(f.name for f in dataclasses.fields(_TYPES[kind])) for kind in _TYPES}
_PHASES = frozenset(Phase)
_SHAPES = frozenset(SHAPES)
_OUTCOMES = frozenset(OnceOutcome)


def record_to_dict(record: JournalRecord) -> dict[str, Any]:
    """Return ``record`` as a JSON object, its ``detail`` cut to its first line and its end."""
    kind = record.kind
    data: dict[str, Any] = {"kind": kind}
    for name in _NAMES[kind]:
        data[name] = getattr(record, name)
    if "detail" in data and len(data["detail"]) > MAX_DETAIL:
        head = first_line(data["detail"]) + "\n"
        data["detail"] = head + data["detail"][len(head) - MAX_DETAIL :]
    return data


def first_line(detail: str) -> str:
    """Return what a report says happened: its first line, at most 200 characters of it.

    What follows is the end of the node's log.
    """
    return detail.strip().partition("\n")[0][:200]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if value.isascii() and "\0" not in value:
        return value
    # A node's words may hold what no database takes: lone surrogates, NUL.
    return value.encode("utf-8", "replace").decode().replace("\0", "?")


def _integer(value: Any) -> int:
    if not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
        raise TypeError
    return value


def _seconds(value: Any) -> float:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise TypeError from None
    return number if math.isfinite(number) else 0.0


_READERS: Mapping[str, Callable[[Any], Any]] = {"str": _text, "int": _integer, "float": _seconds}


_FIELDS = {
    kind: {f.name: _READERS[str(f.type)] for f in dataclasses.fields(known)}
    for kind, known in _TYPES.items()
}


def record_from_dict(data: Any) -> JournalRecord:
    """Return the record that ``data`` describes.

    Fields that this version does not know are left out, so that a journal written by a later
    version can be read; characters that no database takes become ``?``, and a time that is no
    number 0. Raises InvalidInput for an unknown kind, a missing or ill-typed field, and a phase
    or shape that does not exist.
    """
    known = _TYPES.get(str(data.get("kind"))) if isinstance(data, dict) else None
    if known is None:
        raise InvalidInput("a journal record is of no known kind")
    try:
        values = {
            name: read(data[name]) for name, read in _FIELDS[known.kind].items() if name in data
        }
        if values.get("phase", Phase.UP) not in _PHASES:
            raise InvalidInput(f"a journal record names no phase: {values['phase'][:40]!r}")
        if values.get("shape", "pxe10") not in _SHAPES:
            raise InvalidInput(f"a journal record names no shape: {values['shape'][:40]!r}")
        if values.get("outcome", OnceOutcome.PENDING) not in _OUTCOMES:
            raise InvalidInput(f"a journal record names no outcome: {values['outcome'][:40]!r}")
        record: JournalRecord = known(**values)
    except TypeError:
        raise InvalidInput(
            f"a {known.kind} record of the journal lacks a field or has a wrong one"
        ) from None
    return record


def seen_at(record: JournalRecord) -> float:
    """Return when ``record`` was made, in seconds since the epoch."""
    return record.last_at if isinstance(record, GapRecord) else record.at
