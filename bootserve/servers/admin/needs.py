"""What a route needs of whoever asks: a role, and where.

Every :class:`Route` says so in ``needs=``, with one of these::

    needs=anywhere(VIEWER)            a list or a definition that any subject may read; a list of
                                      nodes shows those with ``call.sees(node)``
    needs=node(VIEWER)                the node named by ``{name}`` in the path
    needs=new_node(OPERATOR)          the node that the body describes
    needs=site(OPERATOR)              the whole site
    needs=pinned(OPERATOR, lambda call: call.body.scope)    node/N, rack/R, role/R or site
    needs=places(OPERATOR, function)  what the function of (state, call) returns

The route is refused (403) before its handler runs. What a handler commits for a subject that is
not the site's operator must also be checked against the state that it is committed to, which may
have moved on: ``committer.commit(call.guarded(change), …)`` does. Roles: a viewer reads, an
operator changes nodes, pins, images and what nodes do, an admin says who may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bootserve.core.access import SITE_PLACE, Place, place_of_node, place_of_scope
from bootserve.model.access import AccessRole
from bootserve.model.desired import DesiredState, Node, Scope, ScopeKind
from bootserve.servers.admin.routing import Call, Need

__all__ = [
    "ADMIN",
    "ANYBODY",
    "NOBODY",
    "OPERATOR",
    "VIEWER",
    "anywhere",
    "named",
    "new_node",
    "node",
    "pinned",
    "places",
    "site",
]

VIEWER, OPERATOR, ADMIN = AccessRole.VIEWER, AccessRole.OPERATOR, AccessRole.ADMIN

NOBODY = Need(None, None, "nothing: anyone may ask", anonymous=True)
ANYBODY = Need(None, None, "a login, and no role")


def anywhere(role: AccessRole = VIEWER) -> Need:
    """``role``, in whatever scope."""
    return Need(role, None, f"{role} in any scope")


def site(role: AccessRole = OPERATOR) -> Need:
    """``role`` for the whole site."""
    return Need(role, lambda _state, _call: [SITE_PLACE], f"{role} of the site")


def node(role: AccessRole, name: str = "name") -> Need:
    """``role`` where the node lies whose name is ``{name}`` in the path."""

    def where(state: DesiredState, call: Call[Any, Any]) -> Iterable[Place]:
        return [place_of_node(state.nodes.get(call.path[name]))]

    return Need(role, where, f"{role} of the node's rack or role, or of the site")


def new_node(role: AccessRole) -> Need:
    """``role`` where the node will lie whose rack and role the body says."""

    def where(_state: DesiredState, call: Call[Any, Any]) -> Iterable[Place]:
        return [place_of_node(Node("", (), rack=call.body.rack, role=call.body.role))]

    return Need(role, where, f"{role} of the new node's rack or role")


def named(role: AccessRole, kind: ScopeKind) -> Need:
    """``role`` for the rack or role whose name is ``{name}`` in the path."""

    def where(_state: DesiredState, call: Call[Any, Any]) -> Iterable[Place]:
        return [SITE_PLACE | {Scope(kind, call.path["name"])}]

    return Need(role, where, f"{role} of this {kind}, or of the site")


def pinned(role: AccessRole, scope: Callable[[Call[Any, Any]], str]) -> Need:
    """``role`` for the scope that ``scope`` reads from the call, as a pin's is written."""

    def where(state: DesiredState, call: Call[Any, Any]) -> Iterable[Place]:
        return [place_of_scope(state, Scope.parse(scope(call)))]

    return Need(role, where, f"{role} of the scope, or of one that it lies in")


def places(
    role: AccessRole,
    where: Callable[[DesiredState, Call[Any, Any]], Iterable[Place]],
    words: str = "all that is named",
) -> Need:
    """``role`` in each of the places that ``where`` returns for a call."""
    return Need(role, where, f"{role} of {words}")
