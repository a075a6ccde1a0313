"""Keeps the audit log: its signed heads, its checkpoints, what the server itself does, pruning."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bootserve import __version__
from bootserve.core.audit_sign import Signer
from bootserve.core.audit_verify import head_document
from bootserve.core.hooks import outline_of
from bootserve.errors import BootserveError, Unavailable
from bootserve.model.audit import AuditEntry, AuditKind, Chain, Head
from bootserve.servers.audit import AuditDesk
from bootserve.servers.dbthread import DatabaseThread
from bootserve.settings import Settings
from bootserve.store.audit_log import AuditLog
from bootserve.store.files import os_errors, write_atomic
from bootserve.store.journal import Journal
from bootserve.store.retention import Retention
from bootserve.store.write_watch import WriteWatch

__all__ = ["HEAD_FILE", "AuditKeeper"]

HEAD_FILE = "audit.head"
TURN_SECONDS = 1.0
LOOK_SECONDS = 0.5
HUNG_SECONDS = 4.0
"""The database may be at one job for so long; a lock of another program is waited for 3 s."""
PRUNE_SECONDS = 3600.0
CHECKPOINT_RECORDS = 10_000
DAY = 86_400.0
SECRET = re.compile("secret|password|token|key")
PAUSE = 0.05
"""Seconds between two transactions of a pruning."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds between checkpoints; days that boots, reports and changes are kept, 0 for ever."""

    checkpoint: float
    boots: float
    reports: float
    changes: float

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        """Return what ``settings`` say."""
        return cls(
            settings.audit_checkpoint_minutes * 60,
            settings.keep_boots_days,
            settings.keep_reports_days,
            settings.keep_changes_days,
        )


class AuditKeeper:
    """Runs behind serving. ``desk.lock`` is held while it prunes; ``log`` is a structlog logger.

    ``signer`` is None where the key cannot be used: then nothing is signed, and ``problems`` says
    so.
    """

    def __init__(
        self,
        desk: AuditDesk,
        retention: Retention,
        thread: DatabaseThread,
        journal: Journal,
        watch: WriteWatch,
        signer: Signer | None,
        head_file: Path,
        settings: Settings,
        log: Any,
    ) -> None:
        self.desk = desk
        self._audit: AuditLog = desk.log
        self._retention = retention
        self._thread = thread
        self._journal = journal
        self._watch = watch
        self._signer = signer
        self._head_file = head_file
        self._terms = Terms.of(settings)
        self._log = log
        self._pending: list[AuditEntry] = [_server_entry("start", settings)]
        self._written: dict[Chain, Head] | None = None
        self._checked = dict.fromkeys(Chain, Head())
        self._checked_at = time.monotonic()
        self._pruned_at = time.monotonic() - PRUNE_SECONDS
        self._journal_failed = self._hung = False
        self._cut = ""

    def note(self, entry: AuditEntry) -> None:
        """Have ``entry`` recorded within a second, or once the database takes it."""
        self._pending.append(entry)

    def problems(self) -> list[str]:
        """Return what is wrong with the audit log now."""
        found = [self._watch.problem, self._cut]
        if self._journal.full:
            lost = self._journal.lost
            words = "1 record is lost" if lost == 1 else f"{lost} records are lost"
            found.append(f"the journal cannot be written; {words}")
        if self._signer is None:
            found.append("the audit key cannot be used: the audit log is not signed")
        return [one for one in found if one]

    @property
    def failed(self) -> int:
        """How many writes to the database have failed."""
        return self._watch.total

    async def run(self) -> None:
        """Do what is due, every second, until cancelled."""
        while True:
            try:
                await self.turn()
            except BootserveError as error:
                # whoever writes raises the alarm (WriteWatch); what is due is due again
                self._log.debug("audit log", error=str(error))
            await asyncio.sleep(TURN_SECONDS)

    async def watch_over(self) -> None:
        """Raise the alarm where nothing can be recorded, until cancelled.

        It waits for nothing but the clock: what is due may take minutes, a pruning for one.
        """
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Raise the alarm for a journal that fails, and for a database that does not answer."""
        failed, hung = self._journal.full, self._thread.age > HUNG_SECONDS
        if failed and not self._journal_failed:
            lost = self._journal.lost
            self._log.error("audit alarm", error="the journal cannot be written", lost=lost)
        if hung and not self._hung:
            words = f"the database has been at one job for more than {HUNG_SECONDS:g} s"
            self._watch.failed(Unavailable(words))
        self._journal_failed, self._hung = failed, hung

    async def turn(self) -> None:
        """Record what waits, keep the heads, add a checkpoint and prune where that is due."""
        if self._watch.problem:  # the journal holds the record of it: that is what is tried again
            await self.desk.flush()
        while self._pending:
            await self.desk.record(self._pending[0])
            del self._pending[0]
        now = time.monotonic()
        heads = await self._thread.run(self._audit.heads)
        grown = sum(heads[chain].sequence - self._checked[chain].sequence for chain in Chain)
        waited = now - self._checked_at >= self._terms.checkpoint
        if self._signer and grown and (waited or grown >= CHECKPOINT_RECORDS):
            heads = await self._checkpoint(self._signer)
        if self._signer and heads != self._written:
            await self._keep_heads(self._signer, heads)
        if now - self._pruned_at >= PRUNE_SECONDS and not self.desk.being_read:
            self._pruned_at = now
            await self._prune()

    async def _checkpoint(self, signer: Signer) -> dict[Chain, Head]:
        heads = await self._thread.run(self._audit.checkpoint, signer, time.time())
        self._checked, self._checked_at = heads, time.monotonic()
        return heads

    async def _keep_heads(self, signer: Signer, heads: dict[Chain, Head]) -> None:
        """Write the head file, unless it names a record that is there no more: it is evidence.

        Once the alarm was raised, an admin settles it by moving the file away.
        """
        if self._written is None:
            self._written = await asyncio.to_thread(self._read_heads)
        lost = [
            f"record {head.sequence} of the {chain}"
            for chain, head in self._written.items()
            if not await self._thread.run(self._audit.holds, chain, head)
        ]
        gone = bool(lost) and not await asyncio.to_thread(self._head_file.exists)
        if gone and self._cut:
            self._log.info("audit alarm over", error=self._cut)
            self._cut = ""
        elif lost:
            words = f"the audit log was cut off or altered: {', '.join(lost)} is not what it was"
            if not self._cut:
                self._log.error("audit alarm", error=words)
                detail = {"lost": lost, "kept": _told(self._written)}
                entry = AuditEntry(
                    AuditKind.FAILURE, time.time(), "bootserve", words, detail=detail
                )
                self._pending.append(entry)
            self._cut = f"{words}; see 'bootserve audit verify' and docs/audit.md"
            if gone:  # it was taken away with what it names
                await self._write_heads(signer, self._written)
            return
        await self._write_heads(signer, heads)
        self._written = heads

    def _read_heads(self) -> dict[Chain, Head]:
        try:
            found = json.loads(self._head_file.read_bytes())["heads"]
            return {
                Chain(name): Head(int(one["sequence"]), str(one["hash"]))
                for name, one in found.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    async def _write_heads(self, signer: Signer, heads: dict[Chain, Head]) -> None:
        document = head_document(signer, self._audit.server, heads, time.time())
        await asyncio.to_thread(self._write_file, json.dumps(document).encode() + b"\n")

    def _write_file(self, data: bytes) -> None:
        with os_errors(f"writing {self._head_file}"):
            write_atomic(self._head_file, data, 0o644)

    async def _prune(self) -> None:
        """Delete what is older than its term, a small transaction at a time, and record that."""
        if self._signer is None:
            return
        now = time.time()
        gone: dict[str, int] = {}
        async with self.desk.lock:
            for chain, days in (
                (Chain.BOOTS, self._terms.boots),
                (Chain.CHANGES, self._terms.changes),
            ):
                count = 0
                while days:
                    done = await self._thread.run(
                        self._audit.prune, chain, now - days * DAY, self._signer, now
                    )
                    count += done
                    if not done:
                        break
                    await asyncio.sleep(PAUSE)
                gone[f"{chain} records"] = count
            gone["boots"] = await self._drop("boots", self._terms.boots, now)
            gone["reports"] = await self._drop("reports", self._terms.reports, now)
        if any(gone.values()):
            self._log.info("pruned", **{name.replace(" ", "_"): n for name, n in gone.items()})
            detail: dict[str, Any] = {"gone": {name: n for name, n in gone.items() if n}}
            detail["days"] = {
                name: getattr(self._terms, name) for name in ("boots", "reports", "changes")
            }
            await self.desk.record(
                AuditEntry(
                    AuditKind.PRUNE, now, "bootserve", "older than it is kept", detail=detail
                )
            )

    async def _drop(self, what: str, days: float, now: float) -> int:
        count = 0
        while days:
            drop = self._retention.drop_boots if what == "boots" else self._retention.drop_reports
            done = await self._thread.run(drop, now - days * DAY)
            if not done:
                break
            count += done
            await asyncio.sleep(PAUSE)
        return count

    async def stop(self) -> None:
        """Record that the server stops, sign a last checkpoint and keep the heads."""
        self._pending.append(_server_entry("stop"))
        try:
            await self.turn()
            if self._signer:
                await self._keep_heads(self._signer, await self._checkpoint(self._signer))
        except BootserveError as error:
            self._log.warning("the stop is not in the audit log", error=str(error))


def _told(heads: dict[Chain, Head]) -> dict[str, Any]:
    return {chain.value: asdict(head) for chain, head in heads.items()}


def _server_entry(what: str, settings: Settings | None = None) -> AuditEntry:
    detail: dict[str, Any] = {"what": what, "version": __version__}
    if settings is not None:
        told = settings.model_dump(mode="json")
        told["hooks"] = [outline_of(hook) for hook in settings.hooks]
        detail["settings"] = {name: told[name] for name in told if not SECRET.search(name)}
    return AuditEntry(AuditKind.SERVER, time.time(), "bootserve", detail=detail)
