"""Who may: tokens, bindings, and who is asking."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from bootserve.core.access import SITE_PLACE, Place, covers
from bootserve.errors import InvalidInput, NotFound
from bootserve.model.access import Binding, Grant, Token, check_grantee, parse_access_scope
from bootserve.model.desired import DesiredState
from bootserve.model.names import check_name
from bootserve.servers.admin.accessbook import AccessBook, hash_token, new_token
from bootserve.servers.admin.needs import ADMIN, ANYBODY, NOBODY, anywhere, places
from bootserve.servers.admin.paging import PageQuery, page
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas_access import (
    BindingOut,
    GrantBody,
    GrantList,
    GrantOut,
    LoginOut,
    TokenBody,
    TokenCreated,
    TokenList,
    TokenOut,
    WhoamiOut,
    WithdrawQuery,
)

__all__ = ["routes"]

ALL_BINDINGS = "each of its scopes"


def _place(binding: Binding) -> Place:
    return SITE_PLACE | {binding.scope}


def _bindings_out(bindings: Iterable[Binding]) -> list[BindingOut]:
    return [BindingOut(role=one.role, scope=str(one.scope)) for one in sorted(bindings)]


def _grant_out(grant: Grant) -> GrantOut:
    return GrantOut(
        subject=grant.subject,
        role=grant.binding.role,
        scope=str(grant.binding.scope),
        granted_at=grant.granted_at,
        granted_by=grant.granted_by,
    )


def _asked(_state: DesiredState, call: Call[TokenBody, NoQuery]) -> list[Place]:
    return [SITE_PLACE | {parse_access_scope(text)} for text in call.body.scopes]


def _granted(_state: DesiredState, call: Call[GrantBody, NoQuery]) -> list[Place]:
    return [SITE_PLACE | {parse_access_scope(call.body.scope)}]


def _withdrawn(_state: DesiredState, call: Call[Request, WithdrawQuery]) -> list[Place]:
    return [SITE_PLACE | {parse_access_scope(call.query.scope)}]


class _Access:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane
        self._book: AccessBook = plane.access

    def place_of_token(self, _state: DesiredState, call: Call[Request, NoQuery]) -> Sequence[Place]:
        """Return where the token in the path is bound: an admin of all of it may revoke it."""
        bindings = self._book.bindings(f"token:{call.path['name']}")
        return [_place(one) for one in bindings] or [SITE_PLACE]

    def _token_out(self, token: Token) -> TokenOut:
        return TokenOut(
            name=token.name,
            bindings=_bindings_out(self._book.bindings(f"token:{token.name}")),
            created_at=token.created_at,
            created_by=token.created_by,
            expires_at=token.expires_at,
            used_at=token.used_at,
            revoked_at=token.revoked_at,
            revoked_by=token.revoked_by,
        )

    def _shown(self, call: Call[Request, PageQuery], token: Token) -> bool:
        bindings = self._book.bindings(f"token:{token.name}")
        found = [_place(one) for one in bindings] or [SITE_PLACE]
        return all(covers(call.who, ADMIN, one) for one in found)

    async def tokens(self, call: Call[Request, PageQuery]) -> TokenList:
        await self._book.flush()
        seen = (one for one in self._book.tokens.values() if self._shown(call, one))
        found, more = page(seen, lambda one: one.name, call.query)
        return TokenList(next=more, tokens=[self._token_out(one) for one in found])

    async def create(self, call: Call[TokenBody, NoQuery]) -> TokenCreated:
        body, now = call.body, time.time()
        name = check_name(body.name, "token name")
        if name == "admin":
            raise InvalidInput("token admin is the one in the state directory: take another name")
        if body.expires_at is not None and body.expires_at <= now:
            raise InvalidInput("expires_at is in the past")
        scopes = {parse_access_scope(text) for text in body.scopes}
        secret = new_token(name)
        token = Token(name, hash_token(secret), now, call.subject, body.expires_at)
        bindings = [Binding(body.role, scope) for scope in sorted(scopes)]
        await self._plane.database.run(self._book.store.create_token, token, bindings)
        await self._book.load()
        return TokenCreated(token=self._token_out(self._book.tokens[name]), secret=secret)

    async def revoke(self, call: Call[Request, NoQuery]) -> TokenOut:
        name = call.path["name"]
        if name == "admin":
            raise InvalidInput(
                "token admin is a file of the state directory",
                hint="Delete admin.token and restart the server: it makes another.",
            )
        await self._plane.database.run(
            self._book.store.revoke_token, name, at=time.time(), by=call.subject
        )
        await self._book.load()
        return self._token_out(self._book.tokens[name])

    async def grants(self, call: Call[Request, PageQuery]) -> GrantList:
        seen = (one for one in self._book.grants if covers(call.who, ADMIN, _place(one.binding)))
        key = lambda one: (one.subject, str(one.binding.scope))  # noqa: E731
        found, more = page(seen, key, call.query)
        return GrantList(next=more, grants=[_grant_out(one) for one in found])

    async def grant(self, call: Call[GrantBody, NoQuery]) -> GrantOut:
        body = call.body
        subject = check_grantee(body.subject)
        token = self._book.tokens.get(subject.removeprefix("token:"))
        if subject.startswith("token:") and (token is None or token.revoked_at is not None):
            raise NotFound(
                f"there is no {subject.replace(':', ' ')}", hint="See 'bootserve token list'."
            )
        binding = Binding(body.role, parse_access_scope(body.scope))
        grant = Grant(subject, binding, time.time(), call.subject)
        await self._plane.database.run(self._book.store.grant, grant)
        await self._book.load()
        return _grant_out(grant)

    async def withdraw(self, call: Call[Request, WithdrawQuery]) -> WhoamiOut:
        subject = check_grantee(call.query.subject)
        scope = parse_access_scope(call.query.scope)
        await self._plane.database.run(
            self._book.store.withdraw, subject, scope, at=time.time(), by=call.subject
        )
        await self._book.load()
        return WhoamiOut(subject=subject, bindings=_bindings_out(self._book.bindings(subject)))

    async def whoami(self, call: Call[Request, NoQuery]) -> WhoamiOut:
        return WhoamiOut(subject=call.subject, bindings=_bindings_out(call.who.bindings))

    async def login(self, _call: Call[Request, NoQuery]) -> LoginOut:
        return self._plane.login


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of tokens, bindings and who asks."""
    access = _Access(plane)
    return [*_token_routes(access), *_grant_routes(access)]


def _token_routes(access: _Access) -> list[Route]:
    return [
        Route(
            "GET",
            "/tokens",
            "List tokens",
            access.tokens,
            TokenList,
            query=PageQuery,
            needs=anywhere(ADMIN),
        ),
        Route(
            "POST",
            "/tokens",
            "Make a token",
            access.create,
            TokenCreated,
            TokenBody,
            status=201,
            secret=True,
            needs=places(ADMIN, _asked, ALL_BINDINGS),
        ),
        Route(
            "DELETE",
            "/tokens/{name}",
            "Revoke a token",
            access.revoke,
            TokenOut,
            needs=places(ADMIN, access.place_of_token, ALL_BINDINGS),
        ),
    ]


def _grant_routes(access: _Access) -> list[Route]:
    return [
        Route(
            "GET",
            "/access",
            "List bindings",
            access.grants,
            GrantList,
            query=PageQuery,
            needs=anywhere(ADMIN),
        ),
        Route(
            "PUT",
            "/access",
            "Bind a subject to a role within a scope",
            access.grant,
            GrantOut,
            GrantBody,
            needs=places(ADMIN, _granted, "that scope"),
        ),
        Route(
            "DELETE",
            "/access",
            "Take a binding away",
            access.withdraw,
            WhoamiOut,
            query=WithdrawQuery,
            needs=places(ADMIN, _withdrawn, "that scope"),
        ),
        Route("GET", "/whoami", "Who asks", access.whoami, WhoamiOut, needs=ANYBODY),
        Route("GET", "/login", "Where users log in", access.login, LoginOut, needs=NOBODY),
    ]
