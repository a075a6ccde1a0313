"""Calls a hook's webhook: one signed POST."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import aiohttp

from bootserve.core.hooks import body_of, signature_of
from bootserve.model.hooks import Hook, HookCall, HookOutcome
from bootserve.servers.bodies import read_at_most
from bootserve.servers.reboots.result import MAX_OUTPUT, HookResult, tail

__all__ = ["MAX_WAIT", "call_webhook", "judge_answer"]

MIN_SECRET = 16
MAX_WAIT = 600.0
REPEATABLE = frozenset({408, 409, 423, 425, 429})
"""Client errors (4xx) that may be gone when the same is asked again."""


async def call_webhook(hook: Hook, call: HookCall) -> HookResult:
    """Send ``call`` to the webhook of ``hook`` once and return what became of it; never raises.

    2xx is success. 408, 409, 423, 425, 429, 5xx and a broken connection may be tried again; any
    other answer, a redirect too, is final.
    """
    try:
        headers, context = await asyncio.to_thread(_prepare, hook, call)
    except (OSError, ValueError, ssl.SSLError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return HookResult(HookOutcome.FAILED, f"{_file(hook, error)}: {words}", final=True)
    try:
        timeout = aiohttp.ClientTimeout(total=hook.timeout)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.post(
                hook.url,
                data=body_of(call),
                headers=headers,
                ssl=context if context is not None else True,
                allow_redirects=False,
            ) as response,
        ):
            body = await read_at_most(response, MAX_OUTPUT)
            return judge_answer(response.status, response.headers.get("Retry-After", ""), body)
    except TimeoutError:
        return HookResult(HookOutcome.TIMED_OUT, f"no whole answer within {hook.timeout:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return HookResult(HookOutcome.FAILED, str(error) or type(error).__name__)


def _prepare(hook: Hook, call: HookCall) -> tuple[dict[str, str], ssl.SSLContext | None]:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "bootserve",
        "Idempotency-Key": f'"{call.key}"',
    }
    if hook.secret_file:
        secret = Path(hook.secret_file).read_bytes().strip()
        if len(secret) < MIN_SECRET:
            raise ValueError(f"a secret has at least {MIN_SECRET} bytes")
        headers["Bootserve-Signature"] = signature_of(secret, body_of(call), int(time.time()))
    context = ssl.create_default_context(cafile=hook.ca_file) if hook.ca_file else None
    return headers, context


def _file(hook: Hook, error: Exception) -> str:
    named = getattr(error, "filename", None)
    return str(named or (hook.ca_file if isinstance(error, ssl.SSLError) else hook.secret_file))


def judge_answer(status: int, retry_after: str, body: bytes) -> HookResult:
    """Return what a webhook's answer comes to; ``retry_after`` is that header, or empty."""
    detail, output = f"HTTP status {status}", tail(body)
    if 200 <= status < 300:
        return HookResult(HookOutcome.SUCCEEDED, detail, output)
    if 300 <= status < 400:
        detail += ", and redirects are not followed: declare the address that it leads to"
    final = status < 500 and status not in REPEATABLE
    return HookResult(HookOutcome.FAILED, detail, output, final, _wait(retry_after))


def _wait(text: str) -> float:
    """Return what Retry-After asks for in seconds (RFC 9110 section 10.2.3), bounded."""
    return min(float(text), MAX_WAIT) if text.isascii() and text.isdecimal() else 0.0
