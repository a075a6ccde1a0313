"""Routes as data: one table drives the handlers, the validation and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from bootserve.core.access import Place, check_change, covers, has_role, place_of_node, require
from bootserve.core.transactions import Change
from bootserve.model.access import AccessRole, Subject
from bootserve.model.desired import DesiredState, Node, Scope, ScopeKind

if TYPE_CHECKING:  # a client of the API has no use for the database's libraries
    from bootserve.store.desired import AlsoWrite

__all__ = [
    "PREFIX",
    "Answer",
    "Call",
    "Done",
    "Need",
    "Query",
    "Repeat",
    "Request",
    "Route",
]

PREFIX = "/api/v1"

SUBJECT: web.RequestKey[Subject] = web.RequestKey("subject", Subject)


class Request(BaseModel):
    """Base of request bodies: unknown fields are refused, so that a typo is not ignored."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Query(BaseModel):
    """Base of query strings."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Answer(BaseModel):
    """Base of answers. ``commits`` marks those of commits, which keep them under their keys."""

    model_config = ConfigDict(frozen=True, defer_build=True)
    commits: ClassVar[bool] = False

    def revision_number(self) -> int | None:
        """The revision of the desired state that this shows, which is its ETag; None for others."""
        return None


B = TypeVar("B", bound=Request)
Q = TypeVar("Q", bound=Query)


class Empty(Request):
    """No body."""


class NoQuery(Query):
    """No query string."""


class Repeat(Protocol):
    """Keeps the answer to a request that may come again."""

    def keep(self, answer: Answer) -> AlsoWrite:
        """Return what writes ``answer`` in the transaction of the change that it tells of."""


@dataclass(frozen=True, slots=True)
class Call(Generic[B, Q]):
    """One validated request: who asks, the path's names, the query and the body.

    ``base`` is the revision in If-Match, ``repeat`` what keeps the answer when there was an
    Idempotency-Key: :func:`bootserve.servers.admin.commits.commit` heeds both.
    """

    who: Subject
    path: Mapping[str, str]
    query: Q
    body: B
    raw: web.Request
    base: int | None = None
    repeat: Repeat | None = None
    _sights: dict[tuple[str, str], bool] = field(default_factory=dict, repr=False, compare=False)

    @property
    def subject(self) -> str:
        """The stable name of who asks, as records keep it."""
        return self.who.name

    def sees(self, node: Node | None) -> bool:
        """Whether who asks may read of ``node``; one that is no more is the site's to see."""
        where = (node.rack, node.role) if node else ("", "")
        if where not in self._sights:
            self._sights[where] = covers(self.who, AccessRole.VIEWER, place_of_node(node))
        return self._sights[where]

    def sees_all(self) -> bool:
        """Whether who asks may read of every node."""
        return self.sees(None)

    def sees_pin(self, state: DesiredState, scope: Scope) -> bool:
        """Whether who asks may read of a pin on ``scope``: all but those of nodes not its own."""
        return scope.kind is not ScopeKind.NODE or self.sees(state.nodes.get(scope.name))

    def guarded(self, change: Change) -> Change:
        """Return ``change``, refused at the commit where it goes beyond who asks; see needs.py."""

        def checked(before: DesiredState) -> DesiredState:
            after = change(before)
            check_change(self.who, before, after)
            return after

        return checked


Done = Answer | None
"""What a write is answered with: None has no content."""

Handler = Callable[[Call[Any, Any]], Awaitable["Done | web.StreamResponse"]]


@dataclass(frozen=True, slots=True)
class Need:
    """The role that a route needs, in each of the places that ``where`` finds for a call.

    ``where`` None is a role in any scope; ``role`` None needs none, and ``anonymous`` no login
    either. Make one with
    :mod:`bootserve.servers.admin.needs`.
    """

    role: AccessRole | None
    where: Callable[[DesiredState, Call[Any, Any]], Iterable[Place]] | None
    words: str
    anonymous: bool = False

    def check_role(self, who: Subject) -> None:
        """Raise Refused when ``who`` has the role nowhere, before anything of its is read."""
        if self.role is not None and not has_role(who, self.role):
            require(who, self.role, frozenset())

    def check(self, call: Call[Any, Any], state: DesiredState) -> None:
        """Raise Refused when who asks lacks the role in one of the call's places."""
        if self.role is not None and self.where is not None:
            for place in self.where(state, call):
                require(call.who, self.role, place)


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API. ``path`` is relative to ``/api/v1``.

    ``raw`` marks a body that is bytes and not JSON, and a write that is the same when it is done
    again, so that it needs no Idempotency-Key; ``answer`` is None for an answer that is not
    a JSON object of ours but of type ``media``. ``secret`` marks an answer that is shown once and
    kept nowhere. ``needs`` says who may: :mod:`bootserve.servers.admin.needs` tells how.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    answer: type[Answer] | None = None
    body: type[Request] = Empty
    query: type[Query] = NoQuery
    status: int = 200
    raw: bool = False
    tags: tuple[str, ...] = field(default=())
    secret: bool = False
    media: str = "application/octet-stream"
    _: KW_ONLY
    needs: Need
