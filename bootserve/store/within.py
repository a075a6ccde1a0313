"""Rows of the nodes within scopes."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Column, ColumnElement, or_, select

from bootserve.model.desired import Scope, ScopeKind
from bootserve.store.tables import node

__all__ = ["is_within"]


def is_within(name: Column[str], scopes: Collection[Scope]) -> ColumnElement[bool]:
    """Return whether ``name`` is that of a node which now lies in one of ``scopes``: racks, roles.

    A node that is no more lies in none.
    """

    def names(kind: ScopeKind) -> list[str]:
        return [one.name for one in scopes if one.kind is kind]

    there = or_(node.c.rack.in_(names(ScopeKind.RACK)), node.c.role.in_(names(ScopeKind.ROLE)))
    return name.in_(select(node.c.name).where(node.c.until.is_(None), there))
