"""Nodes that are given their last known good generation in place of their pin's."""

from __future__ import annotations

from dataclasses import dataclass

from bootserve.model.generation import GenerationRef

__all__ = ["Degraded"]


@dataclass(frozen=True, slots=True)
class Degraded:
    """``node`` is given ``generation`` in place of ``instead_of``, since then (epoch seconds).

    ``boot`` is the first boot that it was given so.
    """

    node: str
    generation: GenerationRef
    instead_of: GenerationRef
    since: float
    reason: str
    boot: str = ""
