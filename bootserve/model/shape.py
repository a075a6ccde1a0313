"""The two shapes of a proxyDHCP offer to UEFI PXE firmware."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from bootserve.model.names import Mac

__all__ = ["SHAPES", "LearnedShape", "Shape", "ShapeSetting", "other_shape"]

Shape = Literal["pxe10", "binl"]
"""``pxe10``: the boot file is in the OFFER. ``binl``: it comes in the ACK from port 4011."""
SHAPES: Final[tuple[Shape, Shape]] = ("pxe10", "binl")


class ShapeSetting(StrEnum):
    """What an admin sets on a node: one shape, or that the server finds out which works."""

    AUTO = "auto"
    PXE10 = "pxe10"
    BINL = "binl"

    fixed: Shape | None
    """The one shape that is set, or None."""

    def __init__(self, value: str) -> None:
        self.fixed = next((shape for shape in SHAPES if shape == value), None)


@dataclass(frozen=True, slots=True)
class LearnedShape:
    """The shape that worked for a node's NIC after another one had not.

    ``at`` is when that was seen, in seconds since the epoch.
    """

    mac: Mac
    shape: Shape
    at: float


def other_shape(shape: Shape) -> Shape:
    """Return the shape to try when ``shape`` did not work."""
    return "binl" if shape == "pxe10" else "pxe10"
