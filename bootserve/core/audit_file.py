"""An export of the audit log: JSON lines that can be verified with a public key and nothing else.

The first line is the header, the last the footer; between them are the records, each exactly the
line that its hash is of: those of the changes, then those of the boots. The footer holds the
sha256 of all bytes before it and the Ed25519 signature of its own canonical JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from bootserve.core.audit_chain import Finding, canonical
from bootserve.core.audit_sign import PublicKeys, Signer
from bootserve.core.audit_verify import Verifier
from bootserve.errors import InvalidInput
from bootserve.model.audit import Chain, Head

__all__ = ["FORMAT", "FileVerdict", "FileWriter", "Span", "verify_file"]

FORMAT = "bootserve-audit-1"


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a chain: the place before its first record, and its last record's."""

    chain: Chain
    before: Head
    last: Head

    @property
    def count(self) -> int:
        """How many records it has."""
        return self.last.sequence - self.before.sequence


class FileWriter:
    """Writes an export: :meth:`header`, then :meth:`line` of each record, then :meth:`footer`."""

    def __init__(
        self, signer: Signer, server: str, spans: Iterable[Span], asked: Mapping[str, Any]
    ) -> None:
        """``asked`` is told in the header: the times that were asked for, and when."""
        self._signer = signer
        self._hash = sha256()
        self._count = 0
        self._header = {
            "format": FORMAT,
            "server": server,
            "public_key": signer.public_text,
            "key": signer.id,
            "chains": {
                span.chain.value: {
                    "before": asdict(span.before),
                    "last": asdict(span.last),
                    "count": span.count,
                }
                for span in spans
            },
            **asked,
        }

    def _put(self, text: str) -> bytes:
        data = text.encode() + b"\n"
        self._hash.update(data)
        return data

    def header(self) -> bytes:
        """Return the first line."""
        return self._put(canonical(self._header))

    def line(self, record: str) -> bytes:
        """Return the line of a record."""
        self._count += 1
        return self._put(record)

    def footer(self) -> bytes:
        """Return the last line."""
        body = {"format": FORMAT, "count": self._count, "sha256": self._hash.hexdigest()}
        signed = body | {"key": self._signer.id, "signature": self._signer.sign(body)}
        return canonical(signed).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """What verifying an export came to; ``header`` is its header, as far as it has one."""

    header: Mapping[str, Any]
    records: int
    checkpoints: int
    findings: list[Finding]
    found: int
    unchecked: frozenset[str]


def verify_file(lines: Iterable[bytes], keys: PublicKeys) -> FileVerdict:
    """Verify the lines of an export against trusted keys, and say what is wrong with it.

    Raises InvalidInput when it is no export at all.
    """
    source = iter(lines)
    first = next(source, b"")
    header = _object(first)
    if header is None or header.get("format") != FORMAT or "chains" not in header:
        raise InvalidInput("it is no export of the audit log", hint="See 'bootserve audit export'.")
    verifier = Verifier(str(header.get("server")), keys)
    digest = sha256(first)
    spans = list(_spans(header))
    records, last = 0, b""
    body = _Body(verifier, spans)
    for line in source:
        if last:
            digest.update(last)
            records += 1
            body.read(last)
        last = line
    body.end()
    _check_footer(verifier, last, records, digest.hexdigest())
    verifier.finish()
    return FileVerdict(
        header,
        records,
        verifier.checkpoints,
        verifier.findings,
        verifier.found,
        frozenset(verifier.unchecked),
    )


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _spans(header: Mapping[str, Any]) -> Iterator[Span]:
    try:
        for name in Chain:
            if name in header["chains"]:
                one = header["chains"][name]
                before, last = Head(**one["before"]), Head(**one["last"])
                if type(before.sequence) is not int or type(last.sequence) is not int:
                    raise TypeError
                yield Span(name, before, last)
    except (KeyError, TypeError):
        raise InvalidInput("its header is malformed") from None


class _Body:
    """The records of an export, given to a verifier span by span."""

    def __init__(self, verifier: Verifier, spans: list[Span]) -> None:
        self._verifier = verifier
        self._spans = spans
        self._open: Span | None = None
        self._next()

    def _next(self) -> None:
        self._open = self._spans.pop(0) if self._spans else None
        if self._open:
            self._verifier.begin(self._open.chain, self._open.before)

    def read(self, line: bytes) -> None:
        text = line.decode("ascii", "replace").removesuffix("\n")
        if self._open and self._of_next_chain(line):
            self._close()
        self._verifier.read(text)

    def _of_next_chain(self, line: bytes) -> bool:
        """Whether a line belongs to the next span, the open one being at its end or cut short."""
        if not self._spans or self._open is None:
            return False
        if self._verifier.reader.head.sequence >= self._open.last.sequence:
            return True
        record = _object(line)
        return record is not None and record.get("chain") == self._spans[0].chain.value

    def _close(self) -> None:
        span = self._open
        if span is None:
            return
        head = self._verifier.reader.head
        if head.sequence < span.last.sequence:
            text = (
                f"records {head.sequence + 1} to {span.last.sequence} were cut off: the header"
                f" names record {span.last.sequence}"
            )
            self._verifier.add(Finding(span.chain, "truncated", head.sequence + 1, text))
        elif head.hash and head != span.last:
            text = f"record {head.sequence} was altered: the header names another as the last"
            self._verifier.add(Finding(span.chain, "altered", head.sequence, text))
        self._verifier.end(cut=True)
        self._next()

    def end(self) -> None:
        while self._open:
            self._close()


def _check_footer(verifier: Verifier, line: bytes, records: int, digest: str) -> None:
    footer = _object(line)
    problem = ""
    if footer is None or footer.get("format") != FORMAT or not line.endswith(b"\n"):
        problem, text = "truncated", "the file has no footer: its end was cut off"
    else:
        key, signature = str(footer.pop("key", "")), str(footer.pop("signature", ""))
        if key not in verifier.keys:
            problem, text = "forged", f"the file is signed with the key {key[:64]}, not with yours"
        elif not verifier.keys.holds(key, footer, signature):
            problem, text = "forged", "the signature of the file does not hold"
        elif footer.get("count") != records:
            problem = "missing" if records < int(footer.get("count", 0)) else "altered"
            text = f"the file has {records} records, and was signed with {footer.get('count')}"
        elif footer.get("sha256") != digest:
            problem, text = "altered", "the file is not as it was signed"
    if problem:
        verifier.add(Finding(Chain.CHANGES, problem, None, text))
