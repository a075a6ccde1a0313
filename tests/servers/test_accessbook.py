"""Tokens' uses, while the database is away and after."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bootserve.errors import Unavailable
from bootserve.model.access import Token
from bootserve.servers.admin.accessbook import AccessBook, hash_token, new_token
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.access import AccessStore
from bootserve.store.database import Database, sqlite_url


async def test_a_use_that_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    file, thread = tmp_path / "db", DatabaseThread()
    book = AccessBook(AccessStore(Database(sqlite_url(file))), thread)
    secret = new_token("ci")
    await thread.run(book.store.create_token, Token("ci", hash_token(secret), 1.0, "root"), ())
    await book.load()
    book.subject_of(secret, 1000.0)
    with closing(sqlite3.connect(file)) as database:
        database.execute("ALTER TABLE access_token RENAME TO away")
        with pytest.raises(Unavailable):
            await book.flush()
        book.subject_of(secret, 1001.0)
        database.execute("ALTER TABLE away RENAME TO access_token")
    await book.flush()
    assert book.tokens["ci"].used_at == 1000.0
    thread.close()
