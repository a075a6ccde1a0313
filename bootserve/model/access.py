"""Who may do what: subjects, and the bindings of a role to a part of the site."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from bootserve.errors import InvalidInput
from bootserve.model.desired import Scope, ScopeKind

__all__ = [
    "ANONYMOUS",
    "AccessRole",
    "Binding",
    "Grant",
    "Subject",
    "Token",
    "check_grantee",
    "parse_access_scope",
]


class AccessRole(StrEnum):
    """What a subject may do within a scope; each role includes those before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: AccessRole) -> bool:
        """Whether this role may do all that ``other`` may."""
        order = list(AccessRole)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True, order=True)
class Binding:
    """A role within ``scope``: the site, a rack, or a node role."""

    role: AccessRole
    scope: Scope

    def __str__(self) -> str:
        return f"{self.role}@{self.scope}"


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks: ``token:NAME``, ``user:NAME``, or a local user's name, and what it is bound to.

    ``grantee`` is the name that bindings are granted to, where it is not ``name``: a local user's
    is ``uid:N``.
    """

    name: str
    bindings: tuple[Binding, ...] = ()
    grantee: str = ""


ANONYMOUS = Subject("anonymous")


def parse_access_scope(text: str) -> Scope:
    """Return the scope written ``site``, ``rack/R`` or ``role/R``, or with a colon.

    Raises InvalidInput, also for a node: access is to the site, a rack or a role.
    """
    scope = Scope.parse(re.sub(r"^(node|rack|role):", r"\1/", text.strip()))
    if scope.kind is ScopeKind.NODE:
        raise InvalidInput(
            f"access cannot be bound to {scope}", hint="Write site, rack/NAME or role/NAME."
        )
    return scope


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept: never the token itself. Times are seconds since the epoch."""

    name: str
    hash: str
    created_at: float
    created_by: str
    expires_at: float | None = None
    used_at: float | None = None
    revoked_at: float | None = None
    revoked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A binding of ``subject``, who gave it and when (seconds since the epoch)."""

    subject: str
    binding: Binding
    granted_at: float
    granted_by: str


def check_grantee(text: str) -> str:
    """Return what bindings can be granted to: ``uid:N``, ``token:NAME`` or ``user:NAME``.

    Raises InvalidInput for anything else.
    """
    kind, colon, name = text.partition(":")
    good = {
        "uid": name.isascii() and name.isdigit() and len(name) <= 10,
        "token": bool(name) and name.isprintable() and len(name) <= 63,
        "user": bool(name) and name.isprintable() and len(name) <= 200,
    }
    if not (colon and good.get(kind)):
        raise InvalidInput(
            f"{text[:80]!r} is no subject", hint="Write uid:1000, token:NAME or user:NAME."
        )
    return text
