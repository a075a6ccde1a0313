"""Commands on who may: tokens, bindings, and who asks."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from bootserve.cli.client import segment
from bootserve.cli.command import command, group
from bootserve.cli.output import Output, local_time
from bootserve.cli.session import Session
from bootserve.cli.times import until
from bootserve.model.access import AccessRole, check_grantee, parse_access_scope
from bootserve.servers.admin.schemas_access import (
    BindingOut,
    GrantList,
    GrantOut,
    TokenCreated,
    TokenList,
    TokenOut,
    WhoamiOut,
)

__all__ = ["add_commands"]

PANEL = "Who may"

TokenArg = Annotated[str, typer.Argument(metavar="NAME", help="The token's name.")]
SubjectArg = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="uid:1000, token:NAME or user:NAME.")
]
ScopeArg = Annotated[
    str, typer.Argument(metavar="SCOPE", help="site, rack/RACK or role/ROLE (a colon does, too).")
]
AccessRoleOption = Annotated[
    AccessRole,
    typer.Option(
        "--role", help="viewer reads; operator changes nodes, pins and images; admin says who may."
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add ``token``, ``access`` and ``whoami`` to ``app``."""
    token = group(app, "token", "Tokens for programs.", PANEL)
    command(
        token,
        "create",
        "bootserve token create ci --role operator --scope rack/r12 --expires 90d",
    )(create)
    command(token, "list", "bootserve token list")(list_tokens)
    command(token, "revoke", "bootserve token revoke ci")(revoke)
    access = group(app, "access", "Who may do what, and where.", PANEL)
    command(
        access,
        "grant",
        "bootserve access grant uid:1000 operator rack/r12",
        "bootserve access grant user:anna viewer site",
    )(grant)
    command(access, "revoke", "bootserve access revoke uid:1000 rack/r12")(withdraw)
    command(access, "list", "bootserve access list")(list_grants)
    command(app, "whoami", "bootserve whoami", panel=PANEL)(whoami)


def create(
    session: Session,
    name: TokenArg,
    *,
    role: AccessRoleOption,
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope", metavar="SCOPE", help="site, rack/RACK or role/ROLE; repeat it for several."
        ),
    ],
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="90d, 12h, or a date; default: never."),
    ] = None,
) -> None:
    """Make a token and print it: it is shown this once, and kept as a hash."""
    body = {
        "name": name,
        "role": role,
        "scopes": [str(parse_access_scope(one)) for one in scope],
        "expires_at": until(expires, "--expires") if expires else None,
    }
    reply = session.call("POST", "/tokens", TokenCreated, body=body)
    if not session.out.is_json:
        session.out.note(f"Token {name}: {_bindings(reply.value.token.bindings)}. Keep it safe:")
    session.show(reply, lambda out, made: out.line(made.secret))


def list_tokens(session: Session) -> None:
    """List tokens: what each may, and when it was used last."""
    session.show(session.pages("/tokens", TokenList), _tokens)


def _tokens(out: Output, answer: TokenList) -> None:
    if not answer.tokens:
        out.note("No tokens. Make one with 'bootserve token create'.")
        return
    out.table(
        ["TOKEN", "MAY", "CREATED", "BY", "EXPIRES", "LAST USED", "STATE"],
        [
            [
                one.name,
                _bindings(one.bindings),
                local_time(one.created_at),
                one.created_by,
                local_time(one.expires_at) or "never",
                local_time(one.used_at) or "never",
                _state(one),
            ]
            for one in answer.tokens
        ],
    )


def _state(token: TokenOut) -> str:
    if token.revoked_at is not None:
        return f"revoked by {token.revoked_by}"
    expired = token.expires_at is not None and token.expires_at <= time.time()
    return "expired" if expired else "valid"


def _bindings(bindings: list[BindingOut]) -> str:
    return ", ".join(f"{one.role} {one.scope}" for one in bindings) or "nothing"


def revoke(session: Session, name: TokenArg) -> None:
    """Make a token worthless, at once and for good."""
    reply = session.call("DELETE", f"/tokens/{segment(name)}", TokenOut)
    session.show(reply, lambda out, _: out.line(f"Token {name} is revoked."))


def grant(
    session: Session,
    subject: SubjectArg,
    role: Annotated[AccessRole, typer.Argument(metavar="ROLE", help="viewer, operator or admin.")],
    scope: ScopeArg,
) -> None:
    """Bind a subject to a role within a scope; its earlier role there is replaced.

    A local user (uid:N) is known by the admin socket, and must be able to open it: it belongs to
    the group of the server's user. A user (user:NAME) is known by the identity provider.
    """
    body = {
        "subject": check_grantee(subject),
        "role": role,
        "scope": str(parse_access_scope(scope)),
    }
    reply = session.call("PUT", "/access", GrantOut, body=body)
    session.show(reply, lambda out, one: out.line(f"{one.subject} is {one.role} of {one.scope}."))


def withdraw(session: Session, subject: SubjectArg, scope: ScopeArg) -> None:
    """Take a subject's binding to a scope away."""
    query = {"subject": check_grantee(subject), "scope": str(parse_access_scope(scope))}
    reply = session.call("DELETE", "/access", WhoamiOut, query=query)
    session.show(
        reply,
        lambda out, left: out.line(f"{left.subject} is left with {_bindings(left.bindings)}."),
    )


def list_grants(session: Session) -> None:
    """List bindings: who may do what, where, and who said so."""
    session.show(session.pages("/access", GrantList), _grants)


def _grants(out: Output, answer: GrantList) -> None:
    if not answer.grants:
        out.note("No bindings. root, the server's own user and the admin token may do everything.")
        return
    out.table(
        ["SUBJECT", "ROLE", "SCOPE", "GRANTED", "BY"],
        [
            [one.subject, one.role, one.scope, local_time(one.granted_at), one.granted_by]
            for one in answer.grants
        ],
    )


def whoami(session: Session) -> None:
    """Say who the server takes you for, and what you may."""
    reply = session.call("GET", "/whoami", WhoamiOut)
    session.show(
        reply,
        lambda out, me: out.pairs([("Subject", me.subject), ("May", _bindings(me.bindings))]),
    )
