"""How a handler commits: within the rights of who asks, under If-Match and Idempotency-Key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from bootserve.core.transactions import Change
from bootserve.servers.admin.plane import AdminPlane, committed
from bootserve.servers.admin.routing import Answer, Call
from bootserve.servers.admin.schemas import CommitOut
from bootserve.servers.committer import Also, Committed

__all__ = ["also", "commit"]

A = TypeVar("A", bound=Answer)


async def commit(
    plane: AdminPlane,
    call: Call[Any, Any],
    change: Change,
    message: str,
    *,
    answer: Callable[[Committed], CommitOut] = committed,
    base: int | None = None,
) -> CommitOut:
    """Commit ``change`` for ``call`` and return its answer.

    Raises Refused where the change goes beyond who asks, PreconditionFailed when If-Match, or else
    ``base``, names another revision than the current one, and what the change and its check raise.
    """
    result = await plane.committer.commit(
        call.guarded(change),
        author=call.subject,
        message=message,
        base=call.base if call.base is not None else base,
        also=also(call, answer),
    )
    return answer(result)


def also(call: Call[Any, Any], answer: Callable[[Committed], Answer]) -> Also | None:
    """Return what keeps the answer under the call's Idempotency-Key, for ``Committer.commit``.

    None without a key. The answer is kept in the transaction of the commit, so that after a crash,
    too, the repeated request gets it and makes no second revision.
    """
    repeat = call.repeat
    return None if repeat is None else lambda made: repeat.keep(answer(made))
