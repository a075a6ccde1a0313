"""What a target is, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Target", "joined"]


@dataclass(frozen=True)
class Target:
    """``run`` takes one input; ``seeds`` are inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def joined(datagram: object) -> bytes:
    """Return the bytes of a datagram that is in one piece or in several."""
    if isinstance(datagram, bytes | bytearray | memoryview):
        return bytes(datagram)
    assert isinstance(datagram, list | tuple)
    return b"".join(bytes(part) for part in datagram)
