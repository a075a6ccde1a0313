"""What is fuzzed: one function a parser, which raises when a promise of that parser is broken.

A parser may raise the one error that it documents. Everything else that comes out of a target is
a finding: any other exception, and an assertion about what the parser returned.
"""

from __future__ import annotations

from tests.fuzz import answers, conversations, files, over_admin, over_http, parsers, probing
from tests.fuzz.target import Target

__all__ = ["MODULES", "TARGETS"]

MODULES = (parsers, conversations, over_http, over_admin, answers, files, probing)
TARGETS: dict[str, Target] = {
    name: target for module in MODULES for name, target in module.TARGETS.items()
}
"""Every parser that meets what others wrote, by name."""
