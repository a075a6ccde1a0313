"""Users of an identity provider: their signed tokens, checked by the provider's published keys.

OpenID Connect Discovery 1.0 finds the keys, RFC 7517 and 7519 say what they and the tokens are.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import jwt

from bootserve.core.claims import ClaimRule, believed, bindings_from
from bootserve.errors import Unauthorized, Unavailable
from bootserve.model.access import Subject
from bootserve.servers.admin.accessbook import AccessBook
from bootserve.servers.bodies import read_at_most

__all__ = ["ALGORITHMS", "OidcUsers", "Provider", "published_keys"]

Get = Callable[[str], Awaitable[bytes]]

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Signatures by the provider alone: never ``none``, nor a secret that is shared (HS256)."""

KEYS_SECONDS = 3600.0
REFETCH_SECONDS = 30.0
FETCH_TIMEOUT = 10.0
LEEWAY_SECONDS = 30.0
MAX_DOCUMENT = 1 << 20
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Provider:
    """The provider and what its tokens must say; ``name_claim`` is what a user is called by."""

    issuer: str
    audience: str
    name_claim: str
    rules: Sequence[ClaimRule]


class OidcUsers:
    """Verifies users' tokens; the provider's keys are fetched when needed and kept for an hour.

    A token by a key that is not known makes them be fetched again, at most every 30 seconds, so
    that the provider can change its keys at any time.
    """

    def __init__(self, provider: Provider, book: AccessBook) -> None:
        self._provider = provider
        self._book = book
        self._keys: list[dict[str, Any]] = []
        self._fetched_at = -KEYS_SECONDS
        self._asked_at = -REFETCH_SECONDS
        self._problem = ""
        self._fetching: asyncio.Task[None] | None = None

    def takes(self, token: str) -> bool:
        """Whether ``token`` is written as a signed JWT."""
        return token.isascii() and token.startswith("eyJ") and token.count(".") == 2

    def claimed(self, token: str) -> str:
        """Return the subject that ``token`` claims, unverified, for counting failures."""
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            return "user"
        return f"user:{claims.get(self._provider.name_claim, '')!s:.{MAX_NAME}}"

    async def subject_of(self, token: str, now: float) -> Subject:
        """Return the user, bound by the rules and by what was granted to it.

        Raises Unauthorized for a token that is not valid here and now, and Unavailable when the
        provider's keys cannot be had.
        """
        claims = believed(await self._claims(token))
        name = claims.get(self._provider.name_claim)
        if not (isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()):
            raise self._nameless()
        grantee = f"user:{name}"
        bindings = bindings_from(self._provider.rules, claims) + self._book.bindings(grantee)
        return Subject(grantee, bindings, grantee)

    def _nameless(self) -> Unauthorized:
        claim = self._provider.name_claim
        if claim != "email":
            return Unauthorized(f"the token has no usable claim {claim}")
        return Unauthorized(
            "the token has no email that the provider has verified",
            hint="Have it send email_verified, or set oidc_name_claim to another claim.",
        )

    async def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise Unauthorized("the token is not a JWT") from None
        if header.get("alg") not in ALGORITHMS:
            raise Unauthorized(f"tokens signed by {header.get('alg')!s:.20} are not accepted")
        key = await self._key(header)
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[str(header["alg"])],
                issuer=self._provider.issuer,
                audience=self._provider.audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorized(
                "the login has expired", hint="Run 'bootserve login' again."
            ) from None
        except (jwt.PyJWTError, ValueError) as error:
            raise Unauthorized(f"the token is not valid: {error}") from None

    async def _key(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        for fresh in (False, True):
            await self._refresh(force=fresh)
            for one in self._keys:
                if _may_sign(one, header):
                    # a key that names no algorithm is good for all of its kind
                    algorithm = None if "alg" in one else str(header["alg"])
                    return jwt.PyJWK.from_dict(one, algorithm)
        raise Unauthorized("the token is signed by a key that the provider does not publish")

    async def _refresh(self, *, force: bool) -> None:
        """Have the keys fetched when they are old, or by ``force``; wait only for what is needed.

        Old keys are good meanwhile, so a provider that is slow or away holds up nobody whose key is
        among them.
        """
        if self._fetching is None and self._is_due(force):
            self._asked_at = time.monotonic()
            self._fetching = asyncio.create_task(self._renew())
        if self._fetching is not None and (force or not self._keys):
            await asyncio.shield(self._fetching)
        if self._problem and not self._keys:
            raise Unavailable(
                f"the provider {self._provider.issuer} cannot be asked for its keys:"
                f" {self._problem}"
            )

    def _is_due(self, force: bool) -> bool:
        now = time.monotonic()
        old = now - self._fetched_at >= KEYS_SECONDS
        return (force or old) and now - self._asked_at >= REFETCH_SECONDS

    async def _renew(self) -> None:
        try:
            self._keys = await self._fetch()
            self._fetched_at, self._problem = self._asked_at, ""
        except (aiohttp.ClientError, TimeoutError, ValueError, TypeError, OSError) as error:
            self._problem = str(error) or type(error).__name__
            if not self._keys:  # else those it had are good for a while
                self._asked_at += 1 - REFETCH_SECONDS
        finally:
            self._fetching = None

    async def close(self) -> None:
        """End what is being fetched."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def _fetch(self) -> list[dict[str, Any]]:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            return await published_keys(self._provider.issuer, partial(_get, session))


async def published_keys(issuer: str, get: Get) -> list[dict[str, Any]]:
    """Return the keys that ``issuer`` publishes, those of kinds that are not known left out.

    ``get`` returns the document at an URL. Raises ValueError or TypeError when one is not what it
    should be.
    """
    found = _object(await get(f"{issuer.rstrip('/')}/.well-known/openid-configuration"))
    if found.get("issuer") != issuer:
        raise ValueError(f"it says that it is {found.get('issuer')!s:.100}")
    keys = _object(await get(str(found.get("jwks_uri"))))
    usable = []
    for one in keys.get("keys") or []:
        try:
            jwt.PyJWK.from_dict(one)
            usable.append(one)
        except Exception:
            # Of a kind that pyjwt does not know, or broken (it raises KeyError and others, too): no
            # token of ours is by it, and the others count.
            continue
    return usable


def _object(data: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("what it publishes is no JSON") from None
    if not isinstance(parsed, dict):
        raise ValueError("what it publishes is no JSON object")
    return parsed


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url, raise_for_status=True, allow_redirects=False) as response:
        return await read_at_most(response, MAX_DOCUMENT)


def _may_sign(key: Mapping[str, Any], header: Mapping[str, Any]) -> bool:
    """Whether the token with ``header`` may be by ``key``: its id and kind, and what it is for."""
    if key.get("use", "sig") != "sig" or key.get("alg", header["alg"]) != header["alg"]:
        return False
    kinds = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
    kind = kinds.get(str(header["alg"])[:2])
    return kind == key.get("kty") and header.get("kid") in (None, key.get("kid"))
