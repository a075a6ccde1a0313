"""What is fuzzed of the servers that bootserve asks: an identity provider, BMCs and webhooks."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from bootserve.core.claims import parse_rule
from bootserve.errors import BootserveError, Unauthorized, Unavailable
from bootserve.servers.admin.accessbook import AccessBook
from bootserve.servers.admin.oidc import OidcUsers, Provider, published_keys
from bootserve.servers.reboots.bmcs import Bmc
from bootserve.servers.reboots.redfish import restart_at
from bootserve.servers.reboots.webhook import MAX_WAIT, judge_answer
from tests.fuzz import seeds
from tests.fuzz.target import Target, in_words

__all__ = ["TARGETS"]

LOOP = asyncio.new_event_loop()
ISSUER = "https://id.example"
KEY = ec.derive_private_key(0xB007, ec.SECP256R1())
PROVIDER = Provider(ISSUER, "bootserve", "email", [parse_rule("groups=ops operator rack/r1")])


class Users(OidcUsers):
    """The users of a provider that publishes what it is given."""

    def __init__(self, documents: list[bytes]) -> None:
        book = cast(AccessBook, SimpleNamespace(bindings=lambda _grantee: ()))
        super().__init__(PROVIDER, book)
        self._documents = documents

    async def _fetch(self) -> list[dict[str, Any]]:
        documents = iter(self._documents)

        async def get(_url: str) -> bytes:
            return next(documents, b"")

        return await published_keys(ISSUER, get)


def _token(said: bytes) -> str:
    """Return a token: ``said`` as it is, or signed when it looks like claims."""
    if not said.startswith(b"{"):
        return said.decode("utf-8", "surrogateescape")
    return jwt.api_jws.encode(said, KEY, "ES256", headers={"kid": "1"})


def oidc(data: bytes) -> None:
    """Discovery, keys and a token, a piece each: a user, or no login in words.

    Claims are signed as the provider would, so that what it writes in them is met, too.
    """
    pieces = [*seeds.pieces(data)][:3]
    users = Users(pieces[:2])
    token = _token(pieces[2] if len(pieces) > 2 else b"")
    if not users.takes(token):
        return
    assert users.claimed(token).startswith("user")
    try:
        user = LOOP.run_until_complete(users.subject_of(token, 1.0))
    except (Unauthorized, Unavailable) as error:
        in_words(error)
        return
    assert user.name.removeprefix("user:").isprintable()
    assert {str(one.scope) for one in user.bindings} <= {"rack/r1"}


class Connector:
    """What sushy speaks through: answers with one document after the other, the last for ever."""

    def __init__(self, documents: list[bytes]) -> None:
        self._documents = documents
        self.said: list[tuple[str, Any]] = []

    def get(self, path: str = "", *_words: Any, **_named: Any) -> Any:
        data = self._documents.pop(0) if len(self._documents) > 1 else self._documents[0]
        return SimpleNamespace(
            json=lambda: json.loads(data), headers={}, status_code=200, content=data
        )

    def post(self, path: str = "", data: Any = None, *_words: Any, **_named: Any) -> Any:
        self.said.append((path, data))
        return SimpleNamespace(json=dict, headers={}, status_code=204, content=b"")

    def set_auth(self, _auth: Any) -> None: ...

    def set_http_basic_auth(self, *_words: Any) -> None: ...

    def set_http_session_auth(self, *_words: Any) -> None: ...

    def close(self) -> None: ...


BMC = Bmc("n1", "https://10.0.9.11", system="", username="admin", password="secret-word")


def redfish(data: bytes) -> None:
    """A byte says whether by force, then the answers of a BMC: what was done, or why not."""
    documents = [*seeds.pieces(data[1:])][:5]
    if not documents:
        return
    connector = Connector(documents)
    try:
        done = restart_at(BMC, bool(data[0] & 1), connector=connector)
    except BootserveError as error:
        in_words(error, "the BMC of n1")
        done = str(error)
    assert "secret-word" not in done
    assert done


def webhook(data: bytes) -> None:
    """Status (two bytes), Retry-After (a line) and body: an outcome, and a wait within bounds."""
    status = int.from_bytes(data[:2], "big") % 1000
    line, _, body = data[2:].partition(b"\n")
    found = judge_answer(status, line.decode("latin-1"), body)
    assert 0 <= found.wait <= MAX_WAIT
    assert "\0" not in found.output
    found.output.encode()


_DISCOVERY = b'{"issuer":"https://id.example","jwks_uri":"https://id.example/keys"}'
_JWK = {**json.loads(cast(Any, ECAlgorithm.to_jwk)(KEY.public_key())), "kid": "1", "use": "sig"}
_JWKS = json.dumps({"keys": [_JWK, {"kty": "oct"}]}).encode()
_CLAIMS = (
    b'{"iss":"https://id.example","aud":["bootserve"],"exp":9e9,"nbf":1,"iat":1,'
    b'"email":"ada@example","email_verified":true,"groups":["ops"]}'
)
_ROOT = (
    b'{"@odata.id":"/redfish/v1/","Id":"R","RedfishVersion":"1.6.0","Systems":{"@odata.id":"/s"}}'
)
_SYSTEMS = b'{"@odata.id":"/s","Name":"S","Members@odata.count":1,"Members":[{"@odata.id":"/s/1"}]}'
_SYSTEM = (
    b'{"@odata.id":"/s/1","Id":"1","Name":"n","PowerState":"On","Boot":{},"Status":{"State":"Enabled"'
    b'},"Actions":{"#ComputerSystem.Reset":{"target":"/r","ResetType@Redfish.AllowableValues":'
    b'["On","ForceOff","GracefulRestart","ForceRestart"]}}}'
)

TARGETS = {
    "oidc": Target(
        oidc,
        lambda: [seeds.session(_DISCOVERY, _JWKS, _CLAIMS),
                 seeds.session(_DISCOVERY, _JWKS, _CLAIMS.replace(b"9e9", b"1e999")),
                 seeds.session(_DISCOVERY, _JWKS, _CLAIMS.replace(b"true", b'"yes"')),
                 seeds.session(_DISCOVERY, b'{"keys":[1,{"kty":[]},null]}', _CLAIMS),
                 seeds.session(_DISCOVERY, b"[" * 2000, _CLAIMS),
                 seeds.session(_DISCOVERY, _JWKS, _token(_CLAIMS).encode()[:-4] + b"AAAA"),
                 seeds.session(_DISCOVERY, _JWKS, b"eyJhbGciOiJub25lIn0.e30."),
                 seeds.session(_DISCOVERY, _JWKS, b"eyJ\xff.e30.AAAA")],
    ),
    "redfish": Target(
        redfish,
        lambda: [bytes((n,)) + seeds.session(_ROOT, _SYSTEMS, _SYSTEM) for n in (0, 1)]
        + [b"\0" + seeds.session(_ROOT, _SYSTEMS, _SYSTEM.replace(b'"On","F', b'"F'), _SYSTEM),
           b"\0" + seeds.session(_ROOT, _SYSTEMS, _SYSTEM.replace(b'"On",', b'"Off",', 1)),
           b"\0" + seeds.session(_ROOT.replace(b'{"@odata.id":"/s"}', b"[]"), b"[]", b"1")],
    ),
    "webhook": Target(
        webhook,
        lambda: [b"\0\xc8\nok", b"\1\xad120\nlater", b"\1\xf7" + b"9" * 400 + b"\n\xff\0",
                 b"\1\x2d\nmoved"],
    ),
}  # fmt: skip
