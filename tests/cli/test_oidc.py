"""Logins against a provider that answers oddly."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from bootserve.cli.client import Unreachable
from bootserve.cli.oidc import Client, by_browser, by_device
from tests.support.pieces import Pieces, in_pieces

ISSUER = "/.well-known/openid-configuration"
CODE = {"device_code": "d", "user_code": "AB-CD", "verification_uri": "https://id.example/d"}


@pytest.fixture
async def provider() -> AsyncIterator[Pieces]:
    async with in_pieces() as one:
        one.answers[ISSUER] = {
            "issuer": one.url,
            "token_endpoint": f"{one.url}/token",
            "device_authorization_endpoint": f"{one.url}/device",
            "padding": "x" * 5000,
        }
        yield one


async def login(provider: Pieces, device: dict[str, Any]) -> tuple[str, list[str]]:
    """Log in by a code that the provider gives as ``device``; return the token and what was said.

    The provider answers at once.
    """
    token = jwt.encode({"exp": time.time() + 600, "groups": ["g" * 5000]}, "k" * 32)
    provider.answers |= {"/device": device, "/token": {"id_token": token}}
    client = await Client.discover(provider.url, "bootserve", "openid")
    said: list[str] = []
    got = await by_device(client, "https://boot.example", said.append)
    assert got.token == token
    return got.token, said


async def test_an_answer_may_come_in_any_number_of_pieces(provider: Pieces) -> None:
    _, said = await login(provider, {**CODE, "interval": 0.01})
    assert said == ["Open https://id.example/d and enter the code AB-CD."]
    assert provider.sent > 10


@pytest.mark.parametrize("missing", ["verification_uri", "user_code"])
async def test_a_code_that_nobody_can_enter(provider: Pieces, missing: str) -> None:
    device = {name: value for name, value in CODE.items() if name != missing}
    with pytest.raises(Unreachable, match="without verification_uri or user_code"):
        await login(provider, device)


async def test_times_that_are_none_are_the_usual_ones(
    provider: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootserve.cli.oidc.POLL_SECONDS", 0.01)
    token, _ = await login(provider, {**CODE, "interval": None, "expires_in": None})
    assert token


async def test_a_provider_without_a_login_by_browser(provider: Pieces) -> None:
    client = await Client.discover(provider.url, "bootserve", "openid")
    with pytest.raises(Unreachable, match="does not say where a browser logs in"):
        await by_browser(client, "https://boot.example", print)
