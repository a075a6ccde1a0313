"""Answers kept under Idempotency-Keys, so that a repeated request is answered and not done again.

After draft-ietf-httpapi-idempotency-key-header: a key belongs to one request of one subject.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError as ConstraintViolated

from bootserve.errors import Conflict
from bootserve.store.access_tables import kept_answer
from bootserve.store.database import Database

__all__ = ["BEGUN", "KEPT_SECONDS", "SECRET", "KeptAnswer", "KeptAnswers"]

KEPT_SECONDS = 24 * 3600.0
SECRET = 0
"""The status of an answer that held a secret and was not kept."""
BEGUN = -1
"""The status of what was begun, and of whose end nothing is known yet."""

_T = kept_answer


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer: whose, under which key, to which request; ``at`` is seconds since the epoch.

    ``status`` is that of HTTP, ``SECRET`` or ``BEGUN``.
    """

    subject: str
    key: str
    at: float
    fingerprint: str
    status: int
    etag: str
    body: str


class KeptAnswers:
    """The answers of the last 24 hours. Its methods block: use it in the database's thread.

    Every method raises Unavailable when the database is away, and those that write StorageFull.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, subject: str, key: str, *, now: float) -> KeptAnswer | None:
        """Return what was answered to ``subject`` under ``key``, unless that is too long ago."""
        query = select(_T).where(
            _T.c.subject == subject, _T.c.key == key, _T.c.at > now - KEPT_SECONDS
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else KeptAnswer(**row._mapping)

    def keeping(self, answer: KeptAnswer) -> Callable[[Connection], None]:
        """Return what keeps ``answer`` within a transaction, and drops those too old.

        It takes the place of what was begun under the key; it raises Conflict, which undoes that
        transaction, when the key has an answer.
        """

        def write(connection: Connection) -> None:
            connection.execute(delete(_T).where(_T.c.at <= answer.at - KEPT_SECONDS))
            if connection.execute(
                update(_T).where(*_begun(answer)).values(asdict(answer))
            ).rowcount:
                return
            try:
                connection.execute(insert(_T).values(asdict(answer)))
            except ConstraintViolated:
                raise Conflict(
                    f"Idempotency-Key {answer.key[:40]!r} was answered meanwhile"
                ) from None

        return write

    def keep(self, answer: KeptAnswer) -> None:
        """Keep ``answer`` in a transaction of its own; raises Conflict when the key has one."""
        with self._database.write() as connection:
            self.keeping(answer)(connection)

    def begin(self, mark: KeptAnswer) -> None:
        """Keep ``mark``, whose status is ``BEGUN``; raises Conflict when the key is known."""
        with self._database.write() as connection:
            connection.execute(delete(_T).where(_T.c.at <= mark.at - KEPT_SECONDS))
            try:
                connection.execute(insert(_T).values(asdict(mark)))
            except ConstraintViolated:
                raise Conflict(f"Idempotency-Key {mark.key[:40]!r} came twice at once") from None

    def forget(self, mark: KeptAnswer) -> None:
        """Drop what was begun, as it was refused."""
        with self._database.write() as connection:
            connection.execute(delete(_T).where(*_begun(mark)))


def _begun(one: KeptAnswer) -> tuple[ColumnElement[bool], ...]:
    return _T.c.subject == one.subject, _T.c.key == one.key, _T.c.status == BEGUN
