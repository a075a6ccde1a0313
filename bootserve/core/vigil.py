"""Since when the server listens without a break, on a wall clock that may be set meanwhile."""

from __future__ import annotations

__all__ = ["Vigil"]

JUMP_SECONDS = 60.0
"""By so much the wall clock may run away from the monotonic one between two looks."""


class Vigil:
    """Begins with the first look, and again when the wall clock was set or the machine slept.

    A time on the wall clock that was written down before cannot be compared with one after.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._ahead = 0.0

    def since(self, now: float, monotonic: float) -> float:
        """Return since when it lasts; all of these are seconds, the result like ``now``."""
        ahead = now - monotonic
        if self._since is None or abs(ahead - self._ahead) > JUMP_SECONDS:
            self._since = now
        self._ahead = ahead
        return self._since
