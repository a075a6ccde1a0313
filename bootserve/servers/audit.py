"""The audit log for the admin plane: pages, exports, verification, signed heads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootserve.core.audit_chain import Finding
from bootserve.core.audit_file import FileWriter, Span
from bootserve.core.audit_sign import PublicKeys, Signer, parse_public_key
from bootserve.core.audit_verify import Verifier, head_document
from bootserve.errors import NotFound, Unavailable
from bootserve.model.audit import AuditEntry, Chain, Head
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.audit_check import check_columns, check_tables
from bootserve.store.audit_log import AuditLog, ChainRow, KeptChain
from bootserve.store.database import Database

__all__ = ["AuditDesk", "ChainVerdict", "Verdict"]

SLICE = 500
"""Records that are read and verified at once; other work comes between two slices."""


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """A chain that was verified: records pruned from it, its first and last, how many are there."""

    server: str
    chain: Chain
    pruned: int
    first: int
    last: int
    records: int


@dataclass(slots=True)
class Verdict:
    """What verifying came to. ``found`` counts all findings, of which some are told."""

    chains: list[ChainVerdict] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    found: int = 0
    checkpoints: int = 0
    unchecked: set[str] = field(default_factory=set)


class AuditDesk:
    """Reads the audit log.

    ``signer`` is None where the server's key cannot be used. ``flush`` carries what the journal
    holds to SQL. ``head_file`` holds the signed heads as they were last seen. ``lock`` is held by
    whoever prunes the log, which nobody does while it is ``being_read``.
    """

    def __init__(
        self,
        log: AuditLog,
        database: Database,
        thread: DatabaseThread,
        signer: Signer | None,
        flush: Callable[[], Awaitable[None]],
        head_file: Path,
    ) -> None:
        self.log = log
        self._database = database
        self._thread = thread
        self._signer = signer
        self.flush = flush
        self._head_file = head_file
        self.lock = asyncio.Lock()
        self._readers = 0

    @property
    def being_read(self) -> bool:
        """Whether the log is being read, and must not be pruned meanwhile."""
        return self._readers > 0

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        async with self.lock:
            self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1

    @property
    def signer(self) -> Signer:
        """The server's key; raises Unavailable."""
        if self._signer is None:
            raise Unavailable("the server's audit key cannot be used", hint="Its log says why.")
        return self._signer

    async def record(self, entry: AuditEntry) -> None:
        """Record a change outside of the database; raises StorageFull or Unavailable."""
        await self._thread.run(self.log.record, entry)

    async def heads(self) -> dict[str, Any]:
        """Return the heads of this server's chains, signed."""
        await self.flush()
        heads = await self._thread.run(self.log.heads)
        return head_document(self.signer, self.log.server, heads, time.time())

    async def verify(self, keys: Iterable[str], heads: Iterable[Any]) -> Verdict:
        """Verify every chain in the database.

        ``keys`` are public keys to trust beside the server's own; ``heads`` are signed heads that
        were kept elsewhere. Raises InvalidInput for what is no key.
        """
        trusted = [parse_public_key(key) for key in keys]
        if self._signer:
            trusted.append(self._signer.public)
        await self.flush()
        verdict = Verdict()
        async with self._reading():
            given = [(one, "a head kept elsewhere") for one in heads]
            given += await asyncio.to_thread(self._kept_head)  # before the ends of the chains
            chains = await self._thread.run(self.log.chains)
            servers = dict.fromkeys([self.log.server, *(one.server for one in chains)])
            for server in servers:
                of_server = {one.chain: one for one in chains if one.server == server}
                verifier = Verifier(server, PublicKeys(trusted))
                for document, source in given if server == self.log.server else []:
                    verifier.claim_heads(document, source)
                await self._verify(verifier, server, of_server, verdict)
        return verdict

    def _kept_head(self) -> list[tuple[Any, str]]:
        try:
            return [(json.loads(self._head_file.read_bytes()), f"the file {self._head_file.name}")]
        except FileNotFoundError:
            return []
        except (OSError, ValueError):
            return [(None, f"the file {self._head_file.name}")]

    async def _verify(
        self, verifier: Verifier, server: str, chains: Mapping[Chain, KeptChain], verdict: Verdict
    ) -> None:
        for chain in Chain:
            kept = chains.get(chain)
            verifier.begin(chain, kept.anchor if kept else None)
            if kept:
                await self._read_all(verifier, kept)
            verifier.end()
            reader = verifier.reader
            pruned = kept.anchor.count if kept and kept.anchor else 0
            verdict.chains.append(
                ChainVerdict(
                    server, chain, pruned, reader.first, reader.head.sequence, reader.count
                )
            )
        verifier.finish()
        verdict.findings += verifier.findings
        verdict.found += verifier.found
        verdict.checkpoints += verifier.checkpoints
        verdict.unchecked |= verifier.unchecked

    async def _read_all(self, verifier: Verifier, kept: KeptChain) -> None:
        """Read a chain to its end as it was: the chains name each other's, and both grow."""
        async for rows in self._slices(kept.number, 0, kept.head.sequence):
            records = await asyncio.to_thread(_read_rows, verifier, rows)
            for finding in await self._thread.run(check_tables, self._database, records):
                verifier.add(finding)

    async def export(self, since: float | None, until: float | None) -> AsyncIterator[bytes]:
        """Yield the lines of an export of this server's records of a time (epoch seconds).

        It has every record between the first and the last of that time, so that their chains hold.
        Raises Unavailable, and NotFound when there are none, before the first line.
        """
        signer = self.signer
        await self.flush()
        async with self._reading():
            spans = await self._spans(since, until)
            if not spans:
                raise NotFound("there is no record of that time")
            asked = {"from": since, "to": until, "exported_at": time.time()}
            writer = FileWriter(signer, self.log.server, [one for _, one in spans], asked)
            yield writer.header()
            for number, span in spans:
                sequences = span.before.sequence, span.last.sequence
                async for rows in self._slices(number, *sequences):
                    yield b"".join([writer.line(row.line) for row in rows])
            yield writer.footer()

    async def _spans(self, since: float | None, until: float | None) -> list[tuple[int, Span]]:
        found = []
        for kept in await self._thread.run(self.log.chains):
            if kept.server != self.log.server:
                continue
            ends = await self._thread.run(self.log.span, kept.number, since, until)
            if ends is None:
                continue
            last = await self._thread.run(self.log.place, kept.number, ends[1])
            before: Head | None = kept.start
            if ends[0] - 1 != kept.start.sequence:
                before = await self._thread.run(self.log.place, kept.number, ends[0] - 1)
            # with a record gone the file says so itself, its chain being broken
            before = before or Head(ends[0] - 1, "")
            found.append((kept.number, Span(kept.chain, before, last or Head(ends[1], ""))))
        return found

    async def _slices(
        self, number: int, after: int, last: int
    ) -> AsyncIterator[Sequence[ChainRow]]:
        while after < last:
            rows = await self._thread.run(self.log.rows, number, after, min(SLICE, last - after))
            rows = [row for row in rows if row.head.sequence <= last]
            if not rows:
                return
            after = rows[-1].head.sequence
            yield rows


def _read_rows(verifier: Verifier, rows: Sequence[ChainRow]) -> list[Mapping[str, Any]]:
    """Give ``rows`` to ``verifier`` and return those of their records that are whole."""
    records = []
    for row in rows:
        found = verifier.found
        record = verifier.read(row.line, row.head)
        if record is None or verifier.found > found:
            continue
        if wrong := check_columns(row, record):
            verifier.add(wrong)
        records.append(record)
    return records
