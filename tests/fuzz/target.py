"""What a target is, and what several of them need."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Target", "in_words", "joined"]


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


def in_words(error: Exception, begins: str = "") -> None:
    """Check that ``error`` says something that can be sent and shown, and that begins so."""
    assert str(error)
    assert str(error).startswith(begins)
    json.dumps([str(error), getattr(error, "hint", "")])
