"""Pages of a list: ``limit`` and ``cursor`` in, ``next`` out, the same under writes.

A cursor is the key of the last item that was shown, so what comes or goes meanwhile neither
repeats an item that stays nor leaves one out.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, TypeVar

from pydantic import Field

from bootserve.errors import InvalidInput
from bootserve.servers.admin.routing import Answer, Query

__all__ = [
    "Page",
    "PageQuery",
    "cursor_of",
    "named_page",
    "next_of",
    "older",
    "page",
    "read_cursor",
    "unhurried",
]

T = TypeVar("T")

Key = str | int | tuple[Any, ...]
K = TypeVar("K", str, int, tuple[Any, ...])

SLICE = 200
"""Items that are looked at before others have their turn: a millisecond or so."""
MAX_NUMBER = 1 << 53
"""The largest whole number that every JSON reader keeps, and every database takes."""


class PageQuery(Query):
    """How many items at most, and the ``next`` of the page before; empty for the first page."""

    limit: int = Field(default=1000, ge=1, le=5000)
    cursor: str = Field(default="", max_length=500)


class Page(Answer):
    """A page of a list: ``next`` is the cursor of the page after it, empty at the end."""

    next: str = ""


def cursor_of(key: Key) -> str:
    """Return the cursor that stands for ``key``."""
    text = json.dumps(key, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, kind: type[K]) -> K:
    """Return the key of type ``kind`` in ``cursor``; raises InvalidInput for one that is forged."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True)
        key = json.loads(data)
    except (binascii.Error, ValueError, RecursionError):
        raise _bad_cursor() from None
    key = tuple(key) if isinstance(key, list) else key
    parts = key if isinstance(key, tuple) else (key,)
    if type(key) is not kind or not all(map(_storable, parts)):
        raise _bad_cursor()
    return key


def _storable(part: Any) -> bool:
    """Whether a database can compare its own keys with ``part``."""
    if isinstance(part, str):
        return part.encode("utf-8", "ignore").decode() == part
    return not isinstance(part, int) or abs(part) <= MAX_NUMBER


def _bad_cursor() -> InvalidInput:
    return InvalidInput(
        "query.cursor: not a cursor of this list", hint="Pass the page's 'next' as it came."
    )


def page(items: Iterable[T], key: Callable[[T], K], query: PageQuery) -> tuple[list[T], str]:
    """Return the items of the page that is asked for, by key, and the cursor of the next page.

    The cursor is empty when no item follows. Raises InvalidInput for a cursor of another list.
    """
    if query.cursor:
        items = _after(items, key, query.cursor)
    rest = sorted(items, key=key)
    shown = rest[: query.limit]
    return shown, cursor_of(key(shown[-1])) if len(rest) > query.limit else ""


async def unhurried(items: Sequence[T]) -> AsyncIterator[T]:
    """Yield ``items``; after every few of them what else the loop has to do comes first.

    What is done with each is to take some microseconds. Other threads would not help: one that
    computes holds up the loop by 5 ms each time that the loop wants to go on.
    """
    for start in range(0, len(items), SLICE):
        for one in items[start : start + SLICE]:
            yield one
        await asyncio.sleep(0)


async def named_page(
    names: Sequence[str], look: Callable[[str], T | None], query: PageQuery
) -> tuple[list[T], str]:
    """Return the page of what ``look`` makes of ``names``, and the cursor of the next page.

    ``names`` are sorted; ``look`` returns None for one that is not on the list, and is called for
    no more of them than it takes to fill the page. The cursor is empty when no item follows. Raises
    InvalidInput for a cursor of another list.
    """
    start = bisect_right(names, read_cursor(query.cursor, str)) if query.cursor else 0
    found: list[T] = []
    last = ""
    async for name in unhurried(names[start:]):
        one = look(name)
        if one is None:
            continue
        if len(found) == query.limit:
            return found, cursor_of(last)
        found.append(one)
        last = name
    return found, ""


def older(query: PageQuery, kind: type[K], before: K | None = None) -> K | None:
    """Return the key, of type ``kind``, that all on the page are older than; None for no such.

    ``before`` is what the query names without a cursor. Raises InvalidInput for a forged cursor.
    """
    return read_cursor(query.cursor, kind) if query.cursor else before


def next_of(found: Sequence[T], key: Callable[[T], Key], query: PageQuery) -> str:
    """Return the cursor of the page after ``found``, which has the oldest last; empty at the end.

    A page that is full may be the last one: the page after it is empty then.
    """
    return cursor_of(key(found[-1])) if len(found) == query.limit else ""


def _after(items: Iterable[T], key: Callable[[T], K], cursor: str) -> list[T]:
    keyed = [(key(one), one) for one in items]
    if not keyed:
        return []
    last: Any = read_cursor(cursor, type(keyed[0][0]))
    try:
        return [one for k, one in keyed if k > last]
    except TypeError:
        raise _bad_cursor() from None
