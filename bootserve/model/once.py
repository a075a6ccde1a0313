"""One-shot actions: what a node does at its next boot only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bootserve.errors import InvalidInput

__all__ = ["MAX_SCRIPT", "BootOnce", "OnceAction", "OnceOutcome", "check_script"]

MAX_SCRIPT = 64 << 10
"""Bytes of a one-shot script."""


class OnceAction(StrEnum):
    """What is done once: boot the local disk, boot a generation, or run an iPXE script."""

    LOCAL = "local"
    GENERATION = "generation"
    SCRIPT = "script"


class OnceOutcome(StrEnum):
    """What became of an action; ``gone`` when its node was removed."""

    PENDING = "pending"
    CONSUMED = "consumed"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class BootOnce:
    """An action for the next boot of ``node`` only.

    ``id`` is 32 hex digits. ``generation`` is ``IMAGE@N`` for OnceAction.GENERATION, ``script``
    the text for OnceAction.SCRIPT, each empty otherwise. ``set_at`` is seconds since the epoch.
    """

    id: str
    node: str
    action: OnceAction
    generation: str
    script: str
    set_by: str
    set_at: float

    def __str__(self) -> str:
        match self.action:
            case OnceAction.LOCAL:
                return "the local disk"
            case OnceAction.GENERATION:
                return self.generation
            case OnceAction.SCRIPT:
                return f"a script of {len(self.script.encode())} bytes"


def check_script(text: str) -> str:
    """Return ``text`` when it can be served as an iPXE script; raises InvalidInput otherwise."""
    if not text.startswith(("#!ipxe\n", "#!ipxe\r\n", "#!ipxe ")):
        raise InvalidInput("an iPXE script begins with the line '#!ipxe'")
    if len(text.encode()) > MAX_SCRIPT:
        raise InvalidInput(f"a one-shot script is at most {MAX_SCRIPT} bytes")
    if any(not one.isprintable() and one not in "\n\r\t" for one in text):
        raise InvalidInput("an iPXE script is text, without control characters")
    return text
