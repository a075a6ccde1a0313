"""Pauses that differ between nodes, so that a rack that failed together does not ask together."""

from __future__ import annotations

from hashlib import sha256

from bootserve.model.names import Mac

__all__ = ["jittered", "scaled", "spread_of"]


def spread_of(mac: Mac) -> int:
    """Return where in its spread of pauses ``mac`` lies: 0 to 65535, always the same."""
    return int.from_bytes(sha256(mac.encode()).digest()[:2], "big")


def scaled(seconds: int, spread: int) -> int:
    """Return ``seconds`` less a quarter (spread 0) to more a quarter (65535)."""
    return round(seconds * (0.75 + spread / 131072))


def jittered(seconds: int, mac: Mac) -> int:
    """Return ``seconds`` more or less a quarter, always the same for one ``mac``."""
    return scaled(seconds, spread_of(mac))
