"""Signatures on the audit log: checkpoints, heads, anchors of pruned chains, exports (RFC 8032)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from bootserve.core.audit_chain import canonical
from bootserve.errors import InvalidInput

__all__ = ["PublicKeys", "Signer", "key_id", "new_key", "parse_public_key"]

PREFIX = "ed25519:"


def new_key() -> bytes:
    """Return a new private key, PEM (PKCS #8)."""
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def key_id(public: Ed25519PublicKey) -> str:
    """Return what names a public key: the first 16 hex digits of the sha256 of its 32 bytes."""
    return sha256(_raw(public)).hexdigest()[:16]


def _raw(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def parse_public_key(text: str) -> Ed25519PublicKey:
    """Return the key in ``text``: PEM, or ``ed25519:`` and base64; raises InvalidInput."""
    text = text.strip()
    try:
        if text.startswith(PREFIX):
            raw = base64.b64decode(text.removeprefix(PREFIX), validate=True)
            return Ed25519PublicKey.from_public_bytes(raw)
        found = load_pem_public_key(text.encode())
        if isinstance(found, Ed25519PublicKey):
            return found
    except (ValueError, binascii.Error):
        pass
    raise InvalidInput(
        "it is no Ed25519 public key",
        hint="'bootserve audit key' prints the server's; keep a copy of it elsewhere.",
    )


class PublicKeys:
    """The public keys that are trusted."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {key_id(key): key for key in keys}

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def holds(self, key: str, body: Mapping[str, Any], signature: str) -> bool:
        """Whether ``signature`` (base64) is that of ``body`` by the trusted key with id ``key``."""
        known = self._keys.get(key)
        if known is None:
            return False
        try:
            known.verify(base64.b64decode(signature, validate=True), canonical(dict(body)).encode())
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True


class Signer:
    """Signs with a private key; ``id`` names it."""

    def __init__(self, pem: bytes) -> None:
        """``pem`` is PKCS #8; raises InvalidInput when it holds no Ed25519 key."""
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidInput("it holds no Ed25519 private key")
        self._key = key
        self.public = key.public_key()
        self.id = key_id(self.public)

    def sign(self, body: Mapping[str, Any]) -> str:
        """Return the signature of the canonical JSON of ``body``, in base64."""
        return base64.b64encode(self._key.sign(canonical(dict(body)).encode())).decode()

    @property
    def public_pem(self) -> str:
        """The public key, PEM (SubjectPublicKeyInfo)."""
        form = PublicFormat.SubjectPublicKeyInfo
        return self.public.public_bytes(Encoding.PEM, form).decode()

    @property
    def public_text(self) -> str:
        """The public key in one word: ``ed25519:`` and base64."""
        return PREFIX + base64.b64encode(_raw(self.public)).decode()
