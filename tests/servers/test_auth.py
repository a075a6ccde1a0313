"""Failed logins, and who else has to wait for them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bootserve.core.logins import BURST
from bootserve.model.access import Token
from bootserve.servers.admin.accessbook import AccessBook, hash_token, new_token
from bootserve.servers.admin.auth import Gate, middleware
from bootserve.servers.admin.oidc import OidcUsers, Provider
from bootserve.servers.admin.problems import problems
from bootserve.servers.dbthread import DatabaseThread
from bootserve.service.admin import crash_teller
from bootserve.service.calm import Calm
from bootserve.store.access import AccessStore
from bootserve.store.database import Database, sqlite_url
from tests.servers.test_oidc import OTHER, RSA, FakeIssuer, signed


@dataclass
class Door:
    """A gate on loopback, with a good token and a good user's."""

    url: str
    token: str
    user: str
    forged: str
    refused: list[str] = field(default_factory=list)

    async def ask(self, token: str, times: int = 1) -> list[int]:
        """Return the statuses of requests with ``token``, one after another."""
        headers = {"Authorization": f"Bearer {token}"}
        found = []
        async with aiohttp.ClientSession(headers=headers) as session:
            for _ in range(times):
                async with session.get(self.url) as answer:
                    found.append(answer.status)
        return found


@pytest.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    monkeypatch.setattr("bootserve.core.logins.SECONDS_EACH", 1e6)  # a slow machine regains none
    thread, secret = DatabaseThread(), new_token("ci")
    book = AccessBook(AccessStore(Database(sqlite_url(tmp_path / "db"))), thread)
    token = Token("ci", hash_token(secret), time.time(), "root")
    await thread.run(book.store.create_token, token, ())
    await book.load()
    issuer = FakeIssuer()
    provider = await issuer.start()
    users = OidcUsers(Provider(issuer.url, "bootserve", "sub", ()), book)
    user, forged = (signed(key, "RS256", "one")(issuer.url) for key in (RSA, OTHER))
    made = Door("", secret, user, forged)

    async def refused(address: str, subject: str) -> None:
        made.refused.append(f"{address} {subject}")

    async def ok(_request: web.Request) -> web.Response:
        return web.Response()

    gate = Gate("a" * 64, book, lambda _host: True, users=users, refused=refused)
    app = web.Application(middlewares=[problems(crash_teller(Calm(None))), middleware(gate)])
    app.router.add_get("/", ok)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()
    await users.close()
    await provider.cleanup()
    thread.close()


async def test_a_token_that_fails_and_fails_makes_no_good_one_wait(door: Door) -> None:
    wrong = new_token("gone")
    assert await door.ask(wrong, BURST + 2) == [401] * BURST + [429] * 2
    assert await door.ask(door.token) == [200]
    assert await door.ask(door.user) == [200]
    assert await door.ask(wrong) == [429]
    assert door.refused == ["127.0.0.1 token:gone"]


async def test_signatures_are_not_verified_without_end(door: Door) -> None:
    assert await door.ask(door.forged, BURST + 1) == [401] * BURST + [429]
    assert await door.ask(door.user) == [429]
    assert await door.ask(door.token) == [200]
    assert door.refused == ["127.0.0.1 user:anna"]
