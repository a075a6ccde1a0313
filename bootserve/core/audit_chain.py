"""Records chained by hash: how one is written, and what shows when one is tampered with.

A record is one line of canonical JSON (sorted keys, no spaces, ASCII) that names its server, its
chain, its sequence and the sha256 of the line before it. Its own hash is the sha256 of its line,
so whoever has the lines needs no more than sha256sum to follow a chain.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from bootserve.errors import InvalidInput
from bootserve.model.audit import AuditEntry, Chain, Head

__all__ = [
    "ChainReader",
    "Finding",
    "Link",
    "canonical",
    "chained",
    "parse_record",
]

_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode

FIELDS = frozenset(
    {"about", "at", "chain", "detail", "kind", "message"}
    | {"previous", "request", "revision", "sequence", "server", "subject"}
)
PIECE = 100
"""Elements of a list that are encoded in one go: a long list must not hold up the event loop."""


def canonical(value: Any) -> str:
    """Return the one JSON text of ``value``; numbers as Python writes them."""
    if not _is_long(value):
        return _encode(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{_encode(k)}:{canonical(value[k])}' for k in sorted(value))}}}"
    pieces = (_encode(value[i : i + PIECE])[1:-1] for i in range(0, len(value), PIECE))
    return f"[{','.join(pieces)}]"


def _is_long(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_long(one) for one in value.values() if isinstance(one, dict | list))
    return isinstance(value, list) and len(value) > PIECE


@dataclass(frozen=True, slots=True)
class Link:
    """A record as it is kept: its place, and its line, whose sha256 is the place's hash."""

    head: Head
    line: str


def chained(server: str, chain: Chain, head: Head, entries: Iterable[AuditEntry]) -> Iterator[Link]:
    """Yield ``entries`` as the records that follow ``head`` in a server's chain."""
    for entry in entries:
        line = canonical(
            {
                "about": list(entry.about),
                "at": entry.at,
                "chain": chain.value,
                "detail": entry.detail,
                "kind": entry.kind.value,
                "message": entry.message,
                "previous": head.hash,
                "request": entry.request,
                "revision": entry.revision,
                "sequence": head.sequence + 1,
                "server": server,
                "subject": entry.subject,
            }
        )
        head = Head(head.sequence + 1, sha256(line.encode()).hexdigest())
        yield Link(head, line)


def parse_record(line: str) -> dict[str, Any]:
    """Return the record in ``line``; raises InvalidInput when it is none in canonical form."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidInput("it is not JSON") from None
    if not isinstance(record, dict) or record.keys() != FIELDS:
        raise InvalidInput("it is no record of the audit log")
    sequence, at = record["sequence"], record["at"]
    if type(sequence) is not int or not isinstance(at, float | int) or isinstance(at, bool):
        raise InvalidInput("it is no record of the audit log")
    try:
        if canonical(record) == line:
            return record
    except (ValueError, TypeError, RecursionError):
        pass
    raise InvalidInput("it is not in canonical form")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a chain: ``problem`` is one word for it, ``text`` a sentence.

    Problems are ``altered``, ``missing``, ``reordered``, ``truncated``, ``forged`` (a signature
    that does not hold) and ``mismatch`` (another table tells another story). ``sequence`` is the
    record's, None where there is none.
    """

    chain: Chain
    problem: str
    sequence: int | None
    text: str


class ChainReader:
    """Follows one chain of one server from ``start`` on and says what is wrong with it.

    ``head`` is the last record read, its hash empty where that is not certain; ``first`` the
    sequence of the first one read, ``count`` how many were.
    """

    def __init__(self, server: str, chain: Chain, start: Head) -> None:
        self._server = server
        self._chain = chain
        self.head = start
        self.first = 0
        self.count = 0

    def read(
        self, line: str, place: Head | None = None
    ) -> tuple[Mapping[str, Any] | None, list[Finding]]:
        """Take the next line; return its record, None when it is none, and what is wrong.

        ``place`` is what is kept beside the line, if anything is.
        """
        self.count += 1
        try:
            record = parse_record(line)
        except InvalidInput as error:
            self.head = place or Head(self.head.sequence + 1, "")
            where = self.head.sequence
            return None, [self._found("altered", where, f"record {where} was altered: {error}")]
        where = place.sequence if place else record["sequence"]
        self.first = self.first or where
        if misplaced := self._misplaced(record, where):
            self.head = Head(max(where, self.head.sequence), "")
            return record, [misplaced]
        digest = sha256(line.encode()).hexdigest()
        findings = self._broken(record, where)
        if place and place.hash != digest:
            text = f"record {where} was altered: its hash is another"
            findings.append(self._found("altered", where, text))
        self.head = place or Head(where, digest)
        return record, findings

    def _misplaced(self, record: Mapping[str, Any], where: int) -> Finding | None:
        if (record["server"], record["chain"]) != (self._server, self._chain.value):
            return self._found("reordered", where, f"record {where} belongs to another chain")
        if record["sequence"] != where:
            text = f"record {record['sequence']} stands where record {where} should"
            return self._found("reordered", where, text)
        if where <= self.head.sequence:
            text = f"record {where} comes after record {self.head.sequence}"
            return self._found("reordered", where, text)
        return None

    def _broken(self, record: Mapping[str, Any], where: int) -> list[Finding]:
        """Return what is wrong between the last record and this one."""
        last = self.head
        if where > last.sequence + 1:
            count = where - last.sequence - 1
            which = f"{last.sequence + 1} to {where - 1}" if count > 1 else f"{where - 1}"
            text = f"{count} of its records {'are' if count > 1 else 'is'} missing: {which}"
            return [self._found("missing", last.sequence + 1, text)]
        if last.hash and record["previous"] != last.hash:
            text = f"record {where - 1} was altered: record {where} was written after another"
            return [self._found("altered", where - 1, text)]
        return []

    def _found(self, problem: str, sequence: int, text: str) -> Finding:
        return Finding(self._chain, problem, sequence, text)
