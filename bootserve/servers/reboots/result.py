"""What one attempt of a hook came to."""

from __future__ import annotations

from dataclasses import dataclass

from bootserve.model.hooks import HookOutcome

__all__ = ["MAX_OUTPUT", "HookResult", "tail"]

MAX_OUTPUT = 16_384
"""Bytes of a hook's output that are kept: the last ones, where errors are."""


@dataclass(frozen=True, slots=True)
class HookResult:
    """``final`` marks a failure that no repeat can mend.

    ``wait`` is how many seconds a webhook asked to wait before one.
    """

    outcome: HookOutcome
    detail: str
    output: str = ""
    final: bool = False
    wait: float = 0.0


def tail(data: bytes) -> str:
    """Return the end of ``data`` as text; where the beginning is left out, that is said."""
    text = data[-MAX_OUTPUT:].decode("utf-8", "replace").replace("\0", "")
    return text if len(data) <= MAX_OUTPUT else f"[… the beginning is left out]\n{text}"
