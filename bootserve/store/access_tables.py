"""The tables of who may: tokens, bindings, and the answers kept under Idempotency-Keys."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, String, Table, Text

from bootserve.store.tables import METADATA

__all__ = ["access_binding", "access_token", "kept_answer"]

# ``hash`` is the SHA-256 of the token, which is itself 256 random bits; a name is used once.
access_token = Table(
    "access_token",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Float),
    Column("used_at", Float),
    Column("revoked_at", Float),
    Column("revoked_by", Text),
)

# ``subject`` is token:NAME, user:NAME or uid:N; ``scope`` is site, rack/R or role/R.
access_binding = Table(
    "access_binding",
    METADATA,
    Column("subject", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("granted_at", Float, nullable=False),
    Column("granted_by", Text, nullable=False),
)

kept_answer = Table(
    "kept_answer",
    METADATA,
    Column("subject", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("at", Float, nullable=False, index=True),
    Column("fingerprint", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("etag", Text, nullable=False),
    Column("body", Text, nullable=False),
)
