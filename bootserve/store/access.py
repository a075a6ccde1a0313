"""Tokens and bindings in SQL, each change recorded in the audit log with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from bootserve.errors import Conflict, NotFound
from bootserve.model.access import AccessRole, Binding, Grant, Token
from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.model.desired import Scope
from bootserve.store.access_tables import access_binding, access_token
from bootserve.store.audit import append_changes
from bootserve.store.database import Database

__all__ = ["AccessStore"]

_T = access_token
_B = access_binding
_TOKEN_FIELDS = [column.name for column in _T.columns]


class AccessStore:
    """Who may. Its methods block: use it in the database's thread.

    Every method raises Unavailable when the database is away. ``at`` is seconds since the epoch,
    ``by`` who does it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> tuple[Sequence[Token], Sequence[Grant]]:
        """Return all tokens, revoked ones too, by name, and all bindings by subject and scope."""
        with self._database.read() as connection:
            tokens = connection.execute(select(_T).order_by(_T.c.name)).all()
            grants = connection.execute(select(_B).order_by(_B.c.subject, _B.c.scope)).all()
        return [Token(**row._mapping) for row in tokens], [
            Grant(
                row.subject,
                Binding(AccessRole(row.role), Scope.parse(row.scope)),
                row.granted_at,
                row.granted_by,
            )
            for row in grants
        ]

    def create_token(self, token: Token, bindings: Sequence[Binding]) -> None:
        """Add ``token``, bound to ``bindings``; raises Conflict when its name was used before."""
        with self._database.write() as connection:
            if _find(connection, token.name) is not None:
                raise Conflict(
                    f"there is, or was, a token {token.name}",
                    hint="Records name tokens, so a name is used once: take another.",
                )
            row = {name: getattr(token, name) for name in _TOKEN_FIELDS}
            connection.execute(insert(_T).values(row))
            subject, at, by = f"token:{token.name}", token.created_at, token.created_by
            for one in bindings:
                _bind(connection, Grant(subject, one, at, by))
            detail = {
                "action": "created",
                "token": token.name,
                "bindings": [str(one) for one in bindings],
                "expires_at": token.expires_at,
            }
            append_changes(connection, AuditEntry(AuditKind.TOKEN, at, by, detail=detail))

    def revoke_token(self, name: str, *, at: float, by: str) -> None:
        """Make token ``name`` worthless, with its bindings; raises NotFound.

        One that is revoked stays as it is.
        """
        with self._database.write() as connection:
            row = _find(connection, name)
            if row is None:
                raise NotFound(f"there is no token {name}", hint="See 'bootserve token list'.")
            if row["revoked_at"] is not None:
                return
            connection.execute(
                update(_T).where(_T.c.name == name).values(revoked_at=at, revoked_by=by)
            )
            connection.execute(delete(_B).where(_B.c.subject == f"token:{name}"))
            detail = {"action": "revoked", "token": name}
            append_changes(connection, AuditEntry(AuditKind.TOKEN, at, by, detail=detail))

    def used(self, times: Mapping[str, float]) -> None:
        """Note when tokens were used last, by name."""
        with self._database.write() as connection:
            for name, at in times.items():
                connection.execute(update(_T).where(_T.c.name == name).values(used_at=at))

    def grant(self, grant: Grant) -> None:
        """Bind a subject; a binding of it to the same scope is replaced."""
        with self._database.write() as connection:
            _withdraw(connection, grant.subject, grant.binding.scope)
            _bind(connection, grant)
            _record(connection, "granted", grant, at=grant.granted_at, by=grant.granted_by)

    def withdraw(self, subject: str, scope: Scope, *, at: float, by: str) -> None:
        """Take a subject's binding to ``scope`` away; raises NotFound when there is none."""
        with self._database.write() as connection:
            gone = _withdraw(connection, subject, scope)
            if gone is None:
                raise NotFound(
                    f"{subject} has no binding to {scope}", hint="See 'bootserve access list'."
                )
            _record(connection, "withdrawn", gone, at=at, by=by)

    def record_refusals(self, address: str, subject: str, *, at: float) -> None:
        """Record that ``address`` must wait, having failed to log in, last as ``subject``."""
        with self._database.write() as connection:
            detail = {"action": "login refused", "address": address, "tried": subject}
            append_changes(connection, AuditEntry(AuditKind.ACCESS, at, "bootserve", detail=detail))


def _find(connection: Connection, name: str) -> Mapping[str, Any] | None:
    row = connection.execute(select(_T).where(_T.c.name == name)).one_or_none()
    return None if row is None else dict(row._mapping)


def _bind(connection: Connection, grant: Grant) -> None:
    connection.execute(
        insert(_B).values(
            subject=grant.subject,
            scope=str(grant.binding.scope),
            role=str(grant.binding.role),
            granted_at=grant.granted_at,
            granted_by=grant.granted_by,
        )
    )


def _withdraw(connection: Connection, subject: str, scope: Scope) -> Grant | None:
    match = (_B.c.subject == subject, _B.c.scope == str(scope))
    row = connection.execute(select(_B).where(*match)).one_or_none()
    if row is None:
        return None
    connection.execute(delete(_B).where(*match))
    binding = Binding(AccessRole(row.role), scope)
    return Grant(subject, binding, row.granted_at, row.granted_by)


def _record(connection: Connection, action: str, grant: Grant, *, at: float, by: str) -> None:
    detail = {"action": action, "grantee": grant.subject, "binding": str(grant.binding)}
    append_changes(connection, AuditEntry(AuditKind.ACCESS, at, by, detail=detail))
