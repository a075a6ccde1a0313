"""Users' tokens: which are accepted, by whose keys, and what is said of those that are not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from bootserve.core.claims import bindings_from, check_provider_url, parse_rule
from bootserve.errors import BootserveError, InvalidInput, Unauthorized, Unavailable
from bootserve.model.access import Subject
from bootserve.servers.admin.accessbook import AccessBook
from bootserve.servers.admin.oidc import MAX_DOCUMENT, OidcUsers, Provider
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.access import AccessStore
from bootserve.store.database import Database
from tests.support.pieces import in_pieces

RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


def published(key: Any, kid: str, **more: str) -> dict[str, Any]:
    to_jwk = RSAAlgorithm.to_jwk if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm.to_jwk
    return {**json.loads(cast(Any, to_jwk)(key.public_key())), "kid": kid, **more}


class FakeIssuer:
    """Publishes ``keys`` over HTTP as a provider does, and counts how often it is asked."""

    def __init__(self) -> None:
        self.keys = [published(RSA, "one"), published(EC, "two"), {"kty": "new", "kid": "x"}]
        self.asked = 0
        self.url = ""
        self.slow: asyncio.Event | None = None

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._about)
        app.router.add_get("/keys", self._keys)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _about(self, _request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})

    async def _keys(self, _request: web.Request) -> web.Response:
        self.asked += 1
        if self.slow is not None:
            await self.slow.wait()
        return web.json_response({"keys": self.keys})


RULES = ("groups=ops operator rack/r1", "sub=anna viewer site")


def users_of(issuer: str, name_claim: str = "sub", rules: Sequence[str] = RULES) -> OidcUsers:
    book = AccessBook(AccessStore(Database("sqlite://")), DatabaseThread())
    parsed = [parse_rule(one) for one in rules]
    return OidcUsers(Provider(issuer, "bootserve", name_claim, parsed), book)


def claims(issuer: str, **changes: Any) -> dict[str, Any]:
    now = time.time()
    base = {"iss": issuer, "aud": "bootserve", "sub": "anna", "iat": now, "exp": now + 600}
    merged = {**base, "groups": ["ops", "x"], **changes}
    return {name: value for name, value in merged.items() if value is not None}


def ask(
    make: Callable[[str], str], name_claim: str = "sub", rules: Sequence[str] = RULES
) -> Subject:
    """Return whom the token made for an issuer's URL is taken for."""

    async def work() -> Subject:
        issuer = FakeIssuer()
        runner = await issuer.start()
        try:
            users = users_of(issuer.url, name_claim, rules)
            return await users.subject_of(make(issuer.url), time.time())
        finally:
            await runner.cleanup()

    return asyncio.run(work())


def signed(key: Any, algorithm: str, kid: str | None, **changes: Any) -> Callable[[str], str]:
    headers = {} if kid is None else {"kid": kid}
    return lambda issuer: jwt.encode(claims(issuer, **changes), key, algorithm, headers)


@pytest.mark.parametrize(
    "make",
    [
        signed(RSA, "RS256", "one"),
        signed(RSA, "PS512", "one"),
        signed(RSA, "RS256", None),
        signed(EC, "ES256", "two"),
        signed(RSA, "RS256", "one", aud=["else", "bootserve"]),
    ],
)
def test_a_good_token_is_its_users(make: Callable[[str], str]) -> None:
    found = ask(make)
    assert found.name == "user:anna"
    assert [str(one) for one in found.bindings] == ["operator@rack/r1", "viewer@site"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (signed(OTHER, "RS256", "one"), "Signature verification failed"),
        (signed(OTHER, "RS256", "three"), "a key that the provider does not publish"),
        (signed(EC, "ES256", "one"), "a key that the provider does not publish"),
        (signed("s" * 64, "HS256", "one"), "signed by HS256 are not accepted"),
        (signed(None, "none", "one"), "signed by none are not accepted"),
        (signed(RSA, "RS256", "one", aud="else"), "Audience"),
        (signed(RSA, "RS256", "one", aud=None), "aud"),
        (signed(RSA, "RS256", "one", iss="http://evil.example"), "issuer"),
        (signed(RSA, "RS256", "one", exp=time.time() - 60), "has expired"),
        (signed(RSA, "RS256", "one", exp=None), "exp"),
        (signed(RSA, "RS256", "one", nbf=time.time() + 86_400), "not yet valid"),
        (signed(RSA, "RS256", "one", sub="a\nb"), "no usable claim sub"),
        (signed(RSA, "RS256", "one", sub=None), "no usable claim sub"),
        (lambda _: "eyJx.eyJ.x", "not a JWT"),
    ],
)
def test_a_bad_token_is_nobodys(make: Callable[[str], str], said: str) -> None:
    with pytest.raises(Unauthorized, match=said):
        ask(make)


@pytest.mark.parametrize("verified", [True, "true"])
def test_an_email_that_the_provider_verified_is_believed(verified: object) -> None:
    token = signed(RSA, "RS256", "one", email="anna@example.org", email_verified=verified)
    found = ask(token, "email", ["email=anna@example.org admin site"])
    assert found.name == "user:anna@example.org"
    assert [str(one) for one in found.bindings] == ["admin@site"]


@pytest.mark.parametrize("verified", [False, "false", None, 1.5, ["true"]])
def test_an_email_that_nobody_verified_is_nobodys(verified: object) -> None:
    token = signed(RSA, "RS256", "one", email="anna@example.org", email_verified=verified)
    rules = ["email=anna@example.org admin site"]
    with pytest.raises(Unauthorized, match="no email that the provider has verified"):
        ask(token, "email", rules)
    found = ask(token, "sub", rules)
    assert (found.name, found.bindings) == ("user:anna", ())


def test_keys_are_fetched_seldom_and_good_while_the_provider_is_away() -> None:
    async def work() -> None:
        issuer = FakeIssuer()
        runner = await issuer.start()
        users, now = users_of(issuer.url), time.time()
        good = signed(RSA, "RS256", "one")(issuer.url)
        for _ in range(5):
            assert (await users.subject_of(good, now)).name == "user:anna"
            with pytest.raises(Unauthorized):
                await users.subject_of(signed(OTHER, "RS256", "forged")(issuer.url), now)
        assert issuer.asked == 1, "a forger cannot make the server ask and ask"
        await runner.cleanup()
        assert (await users.subject_of(good, now)).name == "user:anna"
        with pytest.raises(Unavailable, match="cannot be asked for its keys"):
            await users_of(issuer.url).subject_of(good, now)

    asyncio.run(work())


async def test_a_provider_that_is_slow_holds_up_nobody_whose_key_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer = FakeIssuer()
    runner = await issuer.start()
    users, now = users_of(issuer.url), time.time()
    good, unknown = (signed(RSA, "RS256", kid)(issuer.url) for kid in ("one", "new"))
    names = await asyncio.gather(*(users.subject_of(good, now) for _ in range(5)))
    assert ({one.name for one in names}, issuer.asked) == ({"user:anna"}, 1)
    for name, value in (("KEYS", 0.0), ("REFETCH", 0.0)):
        monkeypatch.setattr(f"bootserve.servers.admin.oidc.{name}_SECONDS", value)
    monkeypatch.setattr("bootserve.servers.admin.oidc.FETCH_TIMEOUT", 1000.0)
    issuer.slow = asyncio.Event()
    held = asyncio.create_task(users.subject_of(unknown, now))
    async with asyncio.timeout(100):
        while issuer.asked == 1:
            await users.subject_of(good, now)
            await asyncio.sleep(0.01)
        assert (await users.subject_of(good, now)).name == "user:anna"
        assert not held.done()
        issuer.keys = [published(RSA, "new")]
        issuer.slow.set()
        assert (await held).name == "user:anna"
        issuer.slow.clear()
        await users.subject_of(unknown, now)
        await users.close()
    issuer.slow.set()
    await runner.cleanup()


async def test_documents_may_come_in_any_number_of_pieces() -> None:
    async with in_pieces() as issuer:
        issuer.answers = {
            "/.well-known/openid-configuration": {
                "padding": "x" * 3000,
                "issuer": issuer.url,
                "jwks_uri": f"{issuer.url}/keys",
            },
            "/keys": {"keys": [published(OTHER, str(n)) for n in range(9)] + [published(RSA, "x")]},
        }
        token = signed(RSA, "RS256", "x")(issuer.url)
        assert (await users_of(issuer.url).subject_of(token, time.time())).name == "user:anna"
        assert issuer.sent > 5


async def test_a_document_without_end_is_none() -> None:
    async with in_pieces() as issuer:
        issuer.answers["/.well-known/openid-configuration"] = {"padding": "x" * (MAX_DOCUMENT + 1)}
        issuer.size = 1 << 18
        with pytest.raises(Unavailable, match="cannot be asked for its keys"):
            await users_of(issuer.url).subject_of(signed(RSA, "RS256", "x")(issuer.url), 0.0)


def test_a_key_for_encryption_signs_nothing() -> None:
    async def work() -> None:
        issuer = FakeIssuer()
        issuer.keys = [published(RSA, "one", use="enc")]
        runner = await issuer.start()
        try:
            token = signed(RSA, "RS256", "one")(issuer.url)
            with pytest.raises(Unauthorized, match="does not publish"):
                await users_of(issuer.url).subject_of(token, time.time())
        finally:
            await runner.cleanup()

    asyncio.run(work())


@pytest.mark.parametrize("rule", ["", "groups operator site", "=x viewer site", "a=b boss site"])
def test_a_bad_rule_is_refused(rule: str) -> None:
    with pytest.raises(InvalidInput):
        parse_rule(rule)


def test_rules_fit_values_and_lists_and_anything() -> None:
    rules = [parse_rule("email=* viewer site"), parse_rule("groups=a admin role:web")]
    assert [str(b) for b in bindings_from(rules, {"email": "x"})] == ["viewer@site"]
    assert [str(b) for b in bindings_from(rules, {"groups": ["b", "a"]})] == ["admin@role/web"]
    assert bindings_from(rules, {"groups": "ab", "name": "a"}) == ()


@pytest.mark.parametrize("url", ["", "http://id.example", "ftp://127.0.0.1", "id.example"])
def test_a_provider_is_believed_over_tls_alone(url: str) -> None:
    with pytest.raises(BootserveError):
        check_provider_url(url)
    assert check_provider_url("https://id.example") == "https://id.example"
