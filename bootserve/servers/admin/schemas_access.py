"""The API's bodies and answers about who may. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bootserve.model.access import AccessRole
from bootserve.servers.admin.paging import Page
from bootserve.servers.admin.routing import Answer, Query, Request
from bootserve.servers.admin.schemas import Name

__all__ = [
    "BindingOut",
    "GrantBody",
    "GrantList",
    "GrantOut",
    "LoginOut",
    "TokenBody",
    "TokenCreated",
    "TokenList",
    "TokenOut",
    "WhoamiOut",
    "WithdrawQuery",
]

ScopeText = Annotated[str, Field(max_length=80)]
SubjectText = Annotated[str, Field(max_length=210)]


class BindingOut(Answer):
    """A role within a scope: ``site``, ``rack/R`` or ``role/R``."""

    role: AccessRole
    scope: str


class TokenBody(Request):
    """A new token: its name, its role, and the scopes where it has it."""

    name: Name
    role: AccessRole
    scopes: list[ScopeText] = Field(min_length=1, max_length=100)
    expires_at: float | None = Field(default=None, gt=0, le=1e11, allow_inf_nan=False)


class TokenOut(Answer):
    """A token, without the token itself. ``used_at`` is right to a minute."""

    name: str
    bindings: list[BindingOut]
    created_at: float
    created_by: str
    expires_at: float | None
    used_at: float | None
    revoked_at: float | None
    revoked_by: str | None


class TokenCreated(Answer):
    """A new token, and the token itself, which is shown this once."""

    token: TokenOut
    secret: str


class TokenList(Page):
    """Tokens by name."""

    tokens: list[TokenOut]


class GrantBody(Request):
    """Binds ``subject`` (``uid:N``, ``token:NAME``, ``user:NAME``) to a role within a scope."""

    subject: SubjectText
    role: AccessRole
    scope: ScopeText


class WithdrawQuery(Query):
    """Which binding to take away."""

    subject: SubjectText
    scope: ScopeText


class GrantOut(Answer):
    """A binding, who gave it and when."""

    subject: str
    role: AccessRole
    scope: str
    granted_at: float
    granted_by: str


class GrantList(Page):
    """Bindings by subject and scope."""

    grants: list[GrantOut]


class WhoamiOut(Answer):
    """Who asks, and what it may."""

    subject: str
    bindings: list[BindingOut]


class LoginOut(Answer):
    """Where users log in (OpenID Connect); ``issuer`` is empty where none can."""

    issuer: str
    client_id: str
    scope: str
