"""Idempotency-Keys: a request that comes again is answered as before, and not done again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from bootserve.errors import BootserveError, Conflict, InvalidInput, Unavailable
from bootserve.servers.admin.routing import Answer
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.desired import AlsoWrite
from bootserve.store.kept_answers import KeptAnswer, KeptAnswers

__all__ = ["KeyReused", "Repeats", "Ticket"]

_SECRET = 0


class KeyReused(BootserveError):
    """One Idempotency-Key for two different requests."""

    http_status = 422
    kind = "idempotency-key-reused"


@dataclass(frozen=True, slots=True)
class Repeated:
    """The answer that a repeated request gets."""

    answer: KeptAnswer

    def response(self) -> web.Response:
        """Return it; raises Conflict where it held a secret, which is shown once."""
        if self.answer.status == _SECRET:
            raise Conflict(
                "this was done, and its answer held a secret that is shown once",
                hint="Revoke the token and make another.",
            )
        headers = {"Idempotency-Replayed": "true"}
        if self.answer.etag:
            headers["ETag"] = self.answer.etag
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

    async def save(self, answer: Answer, *, secret: bool) -> None:
        """Keep ``answer``, or where it is secret that there was one, unless it is kept already."""
        if self._written:
            return
        kept = self._kept(answer, _SECRET if secret else self._status)
        # What was asked for is done: to say otherwise because this fails would be worse.
        with contextlib.suppress(Unavailable):
            await self._repeats.database.run(self._repeats.store.keep, kept)

    def _kept(self, answer: Answer, status: int) -> KeptAnswer:
        number = answer.revision_number()
        return KeptAnswer(
            subject=self._subject,
            key=self._key,
            at=time.time(),
            fingerprint=self._fingerprint,
            status=status,
            etag="" if number is None else f'"{number}"',
            body="" if status == _SECRET else answer.model_dump_json(),
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
        InvalidInput for a bad key and KeyReused for the key of another request.
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
        try:
            kept = await self.database.run(self.store.find, subject, key, now=time.time())
        except Unavailable:  # no revision can be made either; what needs no database goes on
            return None
        if kept is None:
            return None
        if kept.fingerprint != fingerprint:
            raise KeyReused(
                "this Idempotency-Key was used for another request",
                hint="Make a new key for each request; a repeat sends the same bytes.",
            )
        return Repeated(kept)
