"""Idempotency-Keys: a request that comes again is answered as before, and not done again.

A commit keeps its answer in its own transaction. Any other write is noted as begun before it is
done, and its answer after; what a crash left begun is not done again, since nobody knows how far it
came.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from bootserve.errors import BootserveError, Conflict, InvalidInput
from bootserve.servers.admin.routing import Answer, Done
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.desired import AlsoWrite
from bootserve.store.kept_answers import BEGUN, SECRET, KeptAnswer, KeptAnswers

__all__ = ["KeyReused", "OutcomeUnknown", "Repeats", "Ticket"]


class KeyReused(BootserveError):
    """One Idempotency-Key for two different requests."""

    http_status = 422
    kind = "idempotency-key-reused"


class OutcomeUnknown(Conflict):
    """What was asked for was begun, and the server knows no end of it."""

    kind = "outcome-unknown"


@dataclass(frozen=True, slots=True)
class Repeated:
    """The answer that a repeated request gets."""

    answer: KeptAnswer

    def response(self) -> web.Response:
        """Return it; raises OutcomeUnknown, and Conflict for a secret, which is shown once."""
        if self.answer.status == BEGUN:
            raise OutcomeUnknown(
                "this was begun, and the server was stopped or failed before its end: it is not"
                " known whether it was done",
                hint="Look whether it was done. If not, send it under a new Idempotency-Key.",
            )
        if self.answer.status == SECRET:
            raise Conflict(
                "this was done, and its answer held a secret that is shown once",
                hint="Revoke the token and make another.",
            )
        headers = {"Idempotency-Replayed": "true"}
        if self.answer.etag:
            headers["ETag"] = self.answer.etag
        if not self.answer.body:
            return web.Response(status=self.answer.status, headers=headers)
        return web.Response(
            status=self.answer.status,
            text=self.answer.body,
            content_type="application/json",
            headers=headers,
        )


class Ticket:
    """One request under a key: what was answered to it before, or what keeps its answer now."""

    def __init__(
        self, repeats: Repeats, subject: str, key: str, fingerprint: str, status: int
    ) -> None:
        self._repeats = repeats
        self._subject = subject
        self._key = key
        self._fingerprint = fingerprint
        self._status = status
        self._written = False
        self.kept: Repeated | None = None

    def keep(self, answer: Answer) -> AlsoWrite:
        """Return what keeps ``answer`` in the transaction of the change that it tells of."""
        write = self._repeats.store.keeping(self._kept(answer, self._status))

        def written(connection: object) -> None:
            write(connection)  # type: ignore[arg-type]
            self._written = True

        return written

    async def do(self, work: Callable[[], Awaitable[Done]], *, secret: bool, commits: bool) -> Done:
        """Do ``work`` and keep its answer, or where it is ``secret`` that there was one.

        Work that ``commits`` has its answer kept in its own transaction; other work is noted first
        as begun. Raises what the work raises, which is not kept when it was refused, and Conflict,
        StorageFull or Unavailable when it cannot be noted: nothing was done then.
        """
        mark = self._kept(None, BEGUN)
        if not commits:
            await self._repeats.database.run(self._repeats.store.begin, mark)
        try:
            answer = await work()
        except BootserveError as error:
            # of what failed for the server's own reasons, part may be done
            if not commits and error.http_status < 500:
                await self._write(self._repeats.store.forget, mark)
            raise
        if not self._written:
            kept = self._kept(answer, SECRET if secret else self._status)
            await self._write(self._repeats.store.keep, kept)
        return answer

    async def _write(self, write: Callable[[KeptAnswer], None], one: KeptAnswer) -> None:
        """Have ``one`` written, unless the database does not take it.

        What was asked for is settled: to say otherwise because this fails would be worse. What was
        begun stays so, and a repeat is told that.
        """
        with contextlib.suppress(BootserveError):
            await self._repeats.database.run(write, one)

    def _kept(self, answer: Done, status: int) -> KeptAnswer:
        number = None if answer is None else answer.revision_number()
        return KeptAnswer(
            subject=self._subject,
            key=self._key,
            at=time.time(),
            fingerprint=self._fingerprint,
            status=status,
            etag="" if number is None else f'"{number}"',
            body="" if status == SECRET or answer is None else answer.model_dump_json(),
        )


class Repeats:
    """The requests under a key, and those being answered now."""

    def __init__(self, store: KeptAnswers, database: DatabaseThread) -> None:
        self.store = store
        self.database = database
        self._busy: dict[tuple[str, str], asyncio.Event] = {}

    @contextlib.asynccontextmanager
    async def once(
        self, subject: str, key: str, fingerprint: str, status: int
    ) -> AsyncIterator[Ticket]:
        """Yield the ticket of one request; the same key's next request waits for its end.

        ``fingerprint`` tells requests apart, ``status`` is what success is answered with. Raises
        InvalidInput for a bad key, KeyReused for the key of another request, and Unavailable where
        it cannot be looked up: what might be done twice is not done.
        """
        if not (0 < len(key) <= 200 and key.isascii() and key.isprintable()):
            raise InvalidInput("an Idempotency-Key has 1 to 200 printable ASCII characters")
        pair = (subject, key)
        while (other := self._busy.get(pair)) is not None:
            await other.wait()
        done = self._busy[pair] = asyncio.Event()
        try:
            ticket = Ticket(self, subject, key, fingerprint, status)
            ticket.kept = await self._find(subject, key, fingerprint)
            yield ticket
        finally:
            del self._busy[pair]
            done.set()

    async def _find(self, subject: str, key: str, fingerprint: str) -> Repeated | None:
        kept = await self.database.run(self.store.find, subject, key, now=time.time())
        if kept is None:
            return None
        if kept.fingerprint != fingerprint:
            raise KeyReused(
                "this Idempotency-Key was used for another request",
                hint="Make a new key for each request; a repeat sends the same bytes.",
            )
        return Repeated(kept)
