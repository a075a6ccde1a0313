"""Verifying a server's audit log: both chains, their signatures, and what each says of the other.

Nothing in a chain shows that its newest records were cut off. So each chain holds signed
checkpoints that name the other's head, and the server keeps the heads of both, signed, in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bootserve.core.audit_chain import ChainReader, Finding
from bootserve.core.audit_sign import PublicKeys, Signer
from bootserve.model.audit import Anchor, AuditEntry, AuditKind, Chain, Head

__all__ = [
    "MOST_FINDINGS",
    "Verifier",
    "anchor_body",
    "checkpoint_entry",
    "head_document",
    "other_chain",
]

MOST_FINDINGS = 100
"""Findings that are told; the rest is counted."""

Claim = tuple[str, str]
"""A hash, and who says that it is a record's."""


def other_chain(chain: Chain) -> Chain:
    """Return the chain that ``chain``'s checkpoints are about."""
    return Chain.BOOTS if chain is Chain.CHANGES else Chain.CHANGES


def checkpoint_entry(
    signer: Signer, server: str, chain: Chain, own: Head, other: Head, at: float
) -> AuditEntry:
    """Return the checkpoint that is to follow ``own`` in ``chain``: it names the other's head."""
    told = {"chain": other_chain(chain).value, "sequence": other.sequence, "hash": other.hash}
    body = _checkpoint_body(server, chain, own.sequence + 1, own.hash, at, told)
    detail = {"other": told, "key": signer.id, "signature": signer.sign(body)}
    return AuditEntry(AuditKind.CHECKPOINT, at, "bootserve", detail=detail)


def _checkpoint_body(
    server: str, chain: Chain, sequence: int, previous: str, at: float, other: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "server": server,
        "chain": chain.value,
        "sequence": sequence,
        "previous": previous,
        "at": at,
        "other": dict(other),
    }


def anchor_body(server: str, chain: Chain, anchor: Anchor) -> dict[str, Any]:
    """Return what is signed of an anchor."""
    body = asdict(anchor) | {"server": server, "chain": chain.value}
    return {name: value for name, value in body.items() if name not in ("key", "signature")}


def head_document(
    signer: Signer, server: str, heads: Mapping[Chain, Head], at: float
) -> dict[str, Any]:
    """Return the heads of a server's chains, signed: to be kept where the log is not."""
    body = {
        "server": server,
        "at": at,
        "heads": {chain.value: asdict(head) for chain, head in heads.items()},
    }
    return body | {"key": signer.id, "signature": signer.sign(body)}


class Verifier:
    """Verifies the chains of one server, that of the changes first.

    ``begin`` a chain, ``read`` its lines in order, ``end`` it; ``finish`` when both are read.
    ``findings`` are the first ones, ``found`` counts all. ``unchecked`` names the keys of
    signatures that could not be checked, being none of ``keys``.
    """

    def __init__(self, server: str, keys: PublicKeys) -> None:
        self._server = server
        self.keys = keys
        self._claims: dict[Chain, dict[int, Claim]] = {chain: {} for chain in Chain}
        self._kept: dict[int, str] = {}
        self._starts: dict[Chain, Head] = {}
        self._ends: dict[Chain, int] = {}
        self._chain = Chain.CHANGES
        self.reader = ChainReader(server, Chain.CHANGES, Head())
        self.findings: list[Finding] = []
        self.found = 0
        self.unchecked: set[str] = set()
        self.checkpoints = 0

    def add(self, finding: Finding) -> None:
        """Take a finding."""
        self.found += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)

    def claim_heads(self, document: Any, source: str) -> None:
        """Take what :func:`head_document` made as evidence; ``source`` says where it was kept."""
        try:
            body = {name: document[name] for name in ("server", "at", "heads")}
            heads = {
                Chain(name): Head(int(one["sequence"]), str(one["hash"]))
                for name, one in document["heads"].items()
            }
            key, signature = str(document["key"]), str(document["signature"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            text = f"{source} holds no heads of the audit log"
            self.add(Finding(Chain.CHANGES, "forged", None, text))
            return
        if body["server"] != self._server:
            text = f"{source} is that of another server"
            self.add(Finding(Chain.CHANGES, "forged", None, text))
        elif self._signed(key, body, signature, Chain.CHANGES, None, source):
            for chain, head in heads.items():
                self._claim(chain, head, source)

    def _claim(self, chain: Chain, head: Head, source: str) -> None:
        if head.sequence:
            self._claims[chain].setdefault(head.sequence, (head.hash, source))

    def _signed(
        self,
        key: str,
        body: Mapping[str, Any],
        signature: str,
        chain: Chain,
        sequence: int | None,
        what: str,
    ) -> bool:
        if key not in self.keys:
            self.unchecked.add(key[:64])
            return False
        if self.keys.holds(key, body, signature):
            return True
        self.add(Finding(chain, "forged", sequence, f"the signature of {what} does not hold"))
        return False

    def begin(self, chain: Chain, start: Head | Anchor | None = None) -> None:
        """Begin ``chain``: at its first record, or after ``start``, an anchor or a place."""
        self._chain = chain
        head = start or Head()
        if isinstance(head, Anchor):
            body = anchor_body(self._server, chain, head)
            self._signed(
                head.key, body, head.signature, chain, None, "the anchor of the pruned records"
            )
            head = head.head
        self._starts[chain] = head
        self.reader = ChainReader(self._server, chain, head)

    def read(self, line: str, place: Head | None = None) -> Mapping[str, Any] | None:
        """Take the next line; return its record, or None when it is none."""
        chain = self._chain
        record, findings = self.reader.read(line, place)
        for finding in findings:
            self.add(finding)
        head = self.reader.head
        if head.hash and chain is Chain.CHANGES:
            self._kept[head.sequence] = head.hash
        claim = self._claims[chain].pop(head.sequence, None) if self._claims[chain] else None
        if claim and head.hash:
            self._compare(chain, head.sequence, head.hash, claim)
        if record is not None and record["kind"] == AuditKind.CHECKPOINT:
            self._checkpoint(record)
        return record

    def _compare(self, chain: Chain, sequence: int, hash: str, claim: Claim) -> None:
        if claim[0] != hash:
            text = f"record {sequence} was altered: {claim[1]} names another there"
            self.add(Finding(chain, "altered", sequence, text))

    def _checkpoint(self, record: Mapping[str, Any]) -> None:
        chain, sequence = self._chain, record["sequence"]
        what = f"checkpoint {sequence} in the chain of {chain}"
        detail = record["detail"]
        try:
            other = detail["other"]
            head = Head(int(other["sequence"]), str(other["hash"]))
            about = Chain(other["chain"])
            key, signature = str(detail["key"]), str(detail["signature"])
        except (KeyError, TypeError, ValueError):
            self.add(Finding(chain, "forged", sequence, f"{what} is malformed"))
            return
        body = _checkpoint_body(
            record["server"], chain, sequence, record["previous"], record["at"], other
        )
        if self._signed(key, body, signature, chain, sequence, what):
            self.checkpoints += 1
            self._claim(about, head, what)

    def end(self, *, cut: bool = False) -> None:
        """End the chain; ``cut`` says that more records follow, which are not here."""
        self._ends[self._chain] = self.reader.head.sequence
        if cut:
            self._ends[self._chain] = -1

    def finish(self) -> None:
        """Hold what each chain, and the heads kept outside, say against what was read."""
        for chain, claims in self._claims.items():
            start, end = self._starts.get(chain, Head()), self._ends.get(chain, 0)
            for sequence, claim in sorted(claims.items()):
                kept = self._kept.get(sequence) if chain is Chain.CHANGES else None
                if kept:
                    self._compare(chain, sequence, kept, claim)
                elif sequence == start.sequence:
                    self._compare(chain, sequence, start.hash, claim)
                elif sequence > end >= 0:
                    text = (
                        f"records {end + 1} to {sequence} were cut off: {claim[1]} names"
                        f" record {sequence}"
                    )
                    self.add(Finding(chain, "truncated", end + 1, text))
