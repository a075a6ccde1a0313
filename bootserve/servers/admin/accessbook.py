"""Tokens and bindings as the admin plane asks for them: in memory, for one lookup a request."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence

from bootserve.errors import BootserveError, Unauthorized
from bootserve.model.access import AccessRole, Binding, Grant, Subject, Token
from bootserve.model.desired import Scope, ScopeKind
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.access import AccessStore

__all__ = ["EVERYTHING", "AccessBook", "hash_token", "new_token", "token_name"]

EVERYTHING = (Binding(AccessRole.ADMIN, Scope(ScopeKind.SITE)),)
USE_SECONDS = 60.0

_PREFIX = "bst-"


def new_token(name: str) -> str:
    """Return a new token: its name, so that a failed login can be told whose, and 256 bits."""
    return f"{_PREFIX}{name}.{secrets.token_hex(32)}"


def token_name(token: str) -> str:
    """Return the name that a token says it has; empty for what is not made as :func:`new_token`."""
    name, dot, _ = token.removeprefix(_PREFIX).rpartition(".")
    return name[:63] if dot and token.startswith(_PREFIX) else ""


def hash_token(token: str) -> str:
    """Return what is kept of a token.

    Plain SHA-256: a slow password hash protects what people make up, and of 256 random bits nobody
    finds the preimage of a fast one either. So a request costs a microsecond, and no attacker can
    make the server compute for long.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class AccessBook:
    """What ``store`` holds; read again after each change. Empty until :meth:`load`."""

    def __init__(self, store: AccessStore, database: DatabaseThread) -> None:
        self.store = store
        self._database = database
        self.tokens: dict[str, Token] = {}
        self.grants: Sequence[Grant] = ()
        self._by_hash: dict[str, Token] = {}
        self._bindings: dict[str, tuple[Binding, ...]] = {}
        self._used: dict[str, float] = {}

    async def load(self) -> None:
        """Read tokens and bindings; raises Unavailable."""
        tokens, grants = await self._database.run(self.store.load)
        bindings: dict[str, list[Binding]] = {}
        for grant in grants:
            bindings.setdefault(grant.subject, []).append(grant.binding)
        self.tokens = {one.name: one for one in tokens}
        self.grants = grants
        self._by_hash = {one.hash: one for one in tokens}
        self._bindings = {name: tuple(some) for name, some in bindings.items()}

    def bindings(self, grantee: str) -> tuple[Binding, ...]:
        """Return the bindings of ``uid:N``, ``token:NAME`` or ``user:NAME``."""
        return self._bindings.get(grantee, ())

    def subject_of(self, token: str, now: float) -> Subject:
        """Return whose ``token`` is; raises Unauthorized for one that is not valid at ``now``."""
        found = self._by_hash.get(hash_token(token))
        if found is None:
            raise Unauthorized("this token is not valid", hint="Ask an admin for another.")
        if found.revoked_at is not None:
            raise Unauthorized(f"token {found.name} was revoked", hint="Ask an admin for another.")
        if found.expires_at is not None and found.expires_at <= now:
            raise Unauthorized(f"token {found.name} has expired", hint="Ask an admin for another.")
        if now - self._used.get(found.name, found.used_at or 0.0) >= USE_SECONDS:
            self._used[found.name] = now
        name = f"token:{found.name}"
        return Subject(name, self.bindings(name), name)

    async def flush(self) -> None:
        """Write down when tokens were used, to the minute; raises Unavailable.

        What cannot be written is kept for the next time.
        """
        used = dict(self._used)
        if used:
            await self._database.run(self.store.used, used)
            await self.load()
            self._used = {name: at for name, at in self._used.items() if used.get(name) != at}

    async def note_refusals(self, address: str, subject: str) -> None:
        """Record that an address may not try again now; without a database the log says it."""
        try:
            await self._database.run(self.store.record_refusals, address, subject, at=time.time())
        except BootserveError:
            return
