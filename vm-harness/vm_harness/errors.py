"""What can go wrong in the lab."""

from __future__ import annotations

__all__ = ["BootFailed", "ExpectError", "HarnessError"]


class HarnessError(Exception):
    """The lab could not do what was asked; ``str(error)`` says why, in words for its user."""


class ExpectError(HarnessError):
    """A pattern did not appear on a console in time; the message ends with the last lines."""


class BootFailed(HarnessError):
    """A VM said itself that its boot came to nothing."""
