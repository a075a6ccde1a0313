"""Answers kept under Idempotency-Keys, so that a repeated request is answered and not done again.

After draft-ietf-httpapi-idempotency-key-header: a key belongs to one request of one subject.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError as ConstraintViolated

from bootserve.errors import Conflict
from bootserve.store.access_tables import kept_answer
from bootserve.store.database import Database

__all__ = ["KEPT_SECONDS", "KeptAnswer", "KeptAnswers"]

KEPT_SECONDS = 24 * 3600.0

_T = kept_answer
_FIELDS = [column.name for column in _T.columns]


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer: whose, under which key, to which request; ``at`` is seconds since the epoch.

    ``status`` 0 marks an answer that held a secret and was not kept.
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

    Every method raises Unavailable when the database is away.
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

        It raises Conflict, which undoes that transaction, when the key has an answer.
        """

        def write(connection: Connection) -> None:
            connection.execute(delete(_T).where(_T.c.at <= answer.at - KEPT_SECONDS))
            row = {name: getattr(answer, name) for name in _FIELDS}
            try:
                connection.execute(insert(_T).values(row))
            except ConstraintViolated:
                raise Conflict(
                    f"Idempotency-Key {answer.key[:40]!r} was answered meanwhile"
                ) from None

        return write

    def keep(self, answer: KeptAnswer) -> None:
        """Keep ``answer`` in a transaction of its own; raises Conflict when the key has one."""
        with self._database.write() as connection:
            self.keeping(answer)(connection)
