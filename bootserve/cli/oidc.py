"""A user's login at an identity provider: by a code typed on any device, or by this browser.

RFC 8628 (device authorization), RFC 6749 with PKCE (RFC 7636) on a loopback port (RFC 8252), and
RFC 7009 to end it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import jwt
from aiohttp import web

from bootserve.cli.client import Unreachable
from bootserve.cli.saved import Login
from bootserve.errors import BootserveError, InvalidInput, Refused
from bootserve.servers.bodies import read_at_most

__all__ = ["Client", "by_browser", "by_device", "has_device_flow", "revoke"]

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
TIMEOUT = aiohttp.ClientTimeout(total=30)
BROWSER_SECONDS = 600.0
POLL_SECONDS = 5.0
DEVICE_SECONDS = 600.0
MAX_ANSWER = 1 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Client:
    """What the provider knows bootserve as, where it is, and what is asked of it."""

    issuer: str
    client_id: str
    scope: str
    endpoints: dict[str, Any]

    @classmethod
    async def discover(cls, issuer: str, client_id: str, scope: str) -> Client:
        """Return the client of the provider ``issuer``; raises Unreachable."""
        found = await _json("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer or not found.get("token_endpoint"):
            raise Unreachable(f"{issuer} does not answer as the provider of that name")
        return cls(issuer, client_id, scope, found)

    async def token(self, url: str, **form: str) -> Login:
        """Return the login that the token endpoint gives for ``form``; raises Refused."""
        endpoint = str(self.endpoints["token_endpoint"])
        answer = await _json("POST", endpoint, {"client_id": self.client_id, **form})
        if "error" in answer:
            raise _Denied(str(answer["error"]), str(answer.get("error_description", "")))
        return _login(url, answer)


class _Denied(Refused):
    """The provider's token endpoint says no, with an OAuth error code."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"the provider refused the login: {words or code}")
        self.code = code


def has_device_flow(client: Client) -> bool:
    """Whether the provider knows the device flow."""
    return bool(client.endpoints.get("device_authorization_endpoint"))


async def by_device(client: Client, url: str, say: Say) -> Login:
    """Log in by a code that the user types at the provider; raises Refused, Unreachable."""
    endpoint = str(client.endpoints["device_authorization_endpoint"])
    form = {"client_id": client.client_id, "scope": client.scope}
    asked = await _json("POST", endpoint, form)
    if "device_code" not in asked:
        raise _Denied(str(asked.get("error", "no code")), str(asked.get("error_description", "")))
    if not (asked.get("verification_uri") and asked.get("user_code")):
        raise Unreachable(
            f"{endpoint} answered without verification_uri or user_code", hint="Try --browser."
        )
    say(f"Open {asked['verification_uri']} and enter the code {asked['user_code']}.")
    if "verification_uri_complete" in asked:
        say(f"Or open {asked['verification_uri_complete']}.")
    return await _poll(client, url, asked)


async def _poll(client: Client, url: str, asked: dict[str, Any]) -> Login:
    pause = _seconds(asked.get("interval"), POLL_SECONDS)
    end = time.monotonic() + _seconds(asked.get("expires_in"), DEVICE_SECONDS)
    while time.monotonic() < end:
        await asyncio.sleep(pause)
        try:
            return await client.token(
                url, grant_type=DEVICE_GRANT, device_code=str(asked["device_code"])
            )
        except _Denied as error:
            if error.code == "slow_down":
                pause += 5
            elif error.code != "authorization_pending":
                raise
    raise Refused("nobody entered the code in time", hint="Run 'bootserve login' again.")


def _seconds(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 else default


async def by_browser(client: Client, url: str, say: Say, port: int = 0) -> Login:
    """Log in by this machine's browser, which comes back to a loopback ``port``; 0 is any.

    Raises Refused when the user or the provider says no, Unreachable when it has no such login.
    """
    endpoint = client.endpoints.get("authorization_endpoint")
    if not endpoint:
        raise Unreachable(f"{client.issuer} does not say where a browser logs in")
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    nonce = secrets.token_urlsafe(16)
    digest = hashlib.sha256(verifier.encode()).digest()
    came: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
    async with _callback(came, state, port) as redirect:
        query = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": redirect,
            "scope": client.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        say(f"Open {endpoint}?{urlencode(query)}")
        try:
            answer = await asyncio.wait_for(came, BROWSER_SECONDS)
        except TimeoutError:
            raise Refused("nobody logged in in time", hint="Run 'bootserve login' again.") from None
    if "code" not in answer:
        raise _Denied(answer.get("error", "no code"), answer.get("error_description", ""))
    login = await client.token(
        url,
        grant_type="authorization_code",
        code=answer["code"],
        redirect_uri=redirect,
        code_verifier=verifier,
    )
    if jwt.decode(login.token, options={"verify_signature": False}).get("nonce") != nonce:
        raise Refused("the provider's answer belongs to another login")
    return login


@contextlib.asynccontextmanager
async def _callback(came: asyncio.Future[dict[str, str]], state: str, port: int) -> Any:
    """Listen on loopback for the browser that comes back, and yield the URL it must come to."""

    async def back(request: web.Request) -> web.Response:
        if not secrets.compare_digest(request.query.get("state", ""), state):
            return web.Response(status=400, text="This is not the login that was asked for.\n")
        if not came.done():
            came.set_result(dict(request.query))
        return web.Response(text="You can close this page and go back to the terminal.\n")

    app = web.Application()
    app.router.add_get("/callback", back)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise InvalidInput(f"port {port} cannot be had: {error.strerror}") from None
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    finally:
        await runner.cleanup()


async def revoke(client: Client, login: Login) -> bool:
    """End the refresh token at the provider (RFC 7009); False where it has no way to."""
    endpoint = client.endpoints.get("revocation_endpoint")
    if not endpoint or not login.refresh_token:
        return False
    form = {"token": login.refresh_token, "token_type_hint": "refresh_token"}
    try:
        await _json("POST", str(endpoint), {**form, "client_id": client.client_id})
    except BootserveError:
        return False
    return True


def _login(url: str, answer: dict[str, Any]) -> Login:
    token = str(answer.get("id_token") or "")
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        expires_at = float(claims["exp"])
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        raise Refused(
            "the provider gave no ID token", hint="oidc_scope must hold 'openid'."
        ) from None
    return Login(url, token, expires_at, str(answer.get("refresh_token") or ""))


async def _json(method: str, url: str, form: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the JSON object at ``url``, also that of an OAuth error; raises Unreachable."""
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.request(method, url, data=form, allow_redirects=False) as response,
        ):
            data = await read_at_most(response, MAX_ANSWER)
            parsed = json.loads(data) if data else {}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Unreachable(
            f"the identity provider cannot be asked: {error or type(error).__name__}",
            hint=f"It should answer at {url}.",
        ) from None
    if not isinstance(parsed, dict) or (response.status >= 400 and "error" not in parsed):
        raise Unreachable(f"{url} answered with HTTP status {response.status}")
    return parsed
