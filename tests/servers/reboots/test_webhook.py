"""Webhooks against a real HTTP server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bootserve.model.hooks import Hook, HookCall, HookOutcome, HookWhen
from bootserve.servers.reboots.webhook import call_webhook
from tests.support.certificates import make_certificate

CALL = HookCall("reboot-n1-4/notify", "notify", HookWhen.AFTER, "n1", attempt=2)


@dataclass
class Hooked:
    """A server that answers as ``answer`` says and keeps what it was sent."""

    answer: Callable[[], Awaitable[web.StreamResponse]]
    url: str = ""
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((dict(request.headers), await request.read()))
        return await self.answer()

    def hook(self, **fields: Any) -> Hook:
        return Hook("notify", HookWhen.AFTER, url=self.url, **{"timeout": 60.0, **fields})


async def ok() -> web.StreamResponse:
    return web.Response(text="noted")


@pytest.fixture
async def hooked() -> AsyncIterator[Hooked]:
    async for one in _serve(None):
        yield one


async def _serve(context: ssl.SSLContext | None) -> AsyncIterator[Hooked]:
    one = Hooked(ok)
    app = web.Application()
    app.router.add_post("/hook", one.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    one.url = f"{'https' if context else 'http'}://127.0.0.1:{port}/hook"
    yield one
    await runner.cleanup()


async def test_it_is_told_and_its_answer_kept(hooked: Hooked) -> None:
    done = await call_webhook(hooked.hook(), CALL)
    assert (done.outcome, done.detail) == (HookOutcome.SUCCEEDED, "HTTP status 200")
    assert done.output == "noted"
    ((headers, body),) = hooked.calls
    assert json.loads(body)["node"] == "n1"
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == '"reboot-n1-4/notify"'
    assert "Bootserve-Signature" not in headers


async def test_it_is_signed(hooked: Hooked, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef0123456789abcdef\n")
    await call_webhook(hooked.hook(secret_file=str(secret)), CALL)
    ((headers, body),) = hooked.calls
    fields = dict(part.split("=") for part in headers["Bootserve-Signature"].split(","))
    key = secret.read_text().strip().encode()
    signed = hmac.new(key, f"{fields['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert fields["v1"] == signed


@pytest.mark.parametrize(("text", "said"), [(None, "No such file"), ("short", "at least 16")])
async def test_without_its_secret_nothing_is_sent(
    hooked: Hooked, tmp_path: Path, text: str | None, said: str
) -> None:
    secret = tmp_path / "secret"
    if text is not None:
        secret.write_text(text)
    done = await call_webhook(hooked.hook(secret_file=str(secret)), CALL)
    assert (done.outcome, done.final) == (HookOutcome.FAILED, True)
    assert said in done.detail
    assert str(secret) in done.detail
    assert hooked.calls == []


@pytest.mark.parametrize(
    ("status", "final"), [(400, True), (404, True), (302, True), (429, False), (503, False)]
)
async def test_what_may_be_gone_later_is_tried_again(
    hooked: Hooked, status: int, final: bool
) -> None:
    async def refuse() -> web.StreamResponse:
        return web.Response(status=status, text="no", headers={"Location": hooked.url})

    hooked.answer = refuse
    done = await call_webhook(hooked.hook(), CALL)
    assert (done.outcome, done.final) == (HookOutcome.FAILED, final)
    assert done.detail.startswith(f"HTTP status {status}")
    assert len(hooked.calls) == 1


@pytest.mark.parametrize(("text", "wait"), [("7", 7.0), ("999999", 600.0), ("soon", 0.0)])
async def test_a_wait_that_it_asks_for_is_bounded(hooked: Hooked, text: str, wait: float) -> None:
    async def later() -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": text})

    hooked.answer = later
    assert (await call_webhook(hooked.hook(), CALL)).wait == wait


async def test_a_slow_one_is_left_at_the_time_limit(hooked: Hooked) -> None:
    never = asyncio.Event()

    async def hang() -> web.StreamResponse:
        await never.wait()
        return web.Response()

    hooked.answer = hang
    done = await call_webhook(hooked.hook(timeout=0.5), CALL)
    assert (done.outcome, done.detail) == (
        HookOutcome.TIMED_OUT,
        "no whole answer within 0.5 s",
    )
    never.set()


async def test_one_that_is_not_there_may_come_back() -> None:
    hook = Hook("notify", HookWhen.AFTER, url="http://127.0.0.1:1/hook")
    done = await call_webhook(hook, CALL)
    assert (done.outcome, done.final) == (HookOutcome.FAILED, False)
    assert "127.0.0.1:1" in done.detail


async def test_a_long_answer_is_cut(hooked: Hooked) -> None:
    async def much() -> web.StreamResponse:
        return web.Response(text="x" * 3_000_000)

    hooked.answer = much
    done = await call_webhook(hooked.hook(), CALL)
    assert done.outcome is HookOutcome.SUCCEEDED
    assert len(done.output) == 16_384


async def test_a_certificate_is_verified(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async for hooked in _serve(context):
        refused = await call_webhook(hooked.hook(), CALL)
        assert refused.outcome is HookOutcome.FAILED
        assert "certificate" in refused.detail.lower()
        assert hooked.calls == []
        done = await call_webhook(hooked.hook(ca_file=str(cert)), CALL)
        assert done.outcome is HookOutcome.SUCCEEDED
