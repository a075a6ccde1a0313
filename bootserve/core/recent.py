"""A table of what was seen last, bounded, that costs as little as a dictionary."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Recent"]

V = TypeVar("V")


class Recent(Generic[V]):
    """Values by name: of those put or got last ``limit`` at least, and at most twice as many.

    Two dictionaries, of which the old one is dropped whole when the young one is full: nothing is
    moved or thrown out one by one.
    """

    __slots__ = ("_limit", "_old", "_young")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: dict[str, V] = {}
        self._old: dict[str, V] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, name: str) -> bool:
        return name in self._young or name in self._old

    def get(self, name: str) -> V | None:
        """Return the value of ``name``, which is among the last from now on."""
        value = self._young.get(name)
        if value is None and (value := self._old.pop(name, None)) is not None:
            self.put(name, value)
        return value

    def put(self, name: str, value: V) -> None:
        """Set the value of ``name``."""
        young = self._young
        young[name] = value
        if len(young) >= self._limit:
            self._old, self._young = young, {}

    def pop(self, name: str) -> V | None:
        """Forget ``name`` and return its value."""
        value = self._young.pop(name, None)
        old = self._old.pop(name, None)
        return old if value is None else value
