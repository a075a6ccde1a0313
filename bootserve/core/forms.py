"""Forms: a script rendered once, with holes for what differs from boot to boot.

Rendering a Jinja2 template takes longer than everything else that a boot's script costs. Where a
template only prints a value, as ``{{ node }}`` does, it may be rendered with a mark in its place,
and the mark replaced later. Whether it does no more than that is read from its syntax tree:
whatever is not known to be safe is rendered in full for every boot.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from operator import itemgetter

from jinja2 import Environment, nodes

__all__ = ["MARKS", "Form", "only_prints"]

MARKS = "\ue000\ue001\ue002\ue003\ue004"
"""The marks, one a hole: of Unicode's private use, which no name, argument or URL may hold."""

# Each of these gives the same for the same values, and none can see a value but by its name.
_PLAIN = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.For,
    nodes.If,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Const,
    nodes.Compare,
    nodes.Operand,
    nodes.BinExpr,
    nodes.UnaryExpr,
    nodes.CondExpr,
    nodes.Concat,
    nodes.Tuple,
    nodes.List,
    nodes.Filter,
)
_FILTERS = frozenset(
    {"count", "default", "first", "int", "join", "last", "length", "lower", "upper"}
)


def only_prints(environment: Environment, source: str, names: Collection[str]) -> bool:
    """Return whether the template ``source`` does nothing with the values ``names`` but print them.

    False also for a template that could tell two renderings apart in any other way, or that holds
    one of :data:`MARKS`.
    """
    if any(mark in source for mark in MARKS):
        return False
    return _harmless(environment.parse(source), frozenset(names))


def _harmless(node: nodes.Node, names: frozenset[str]) -> bool:
    if not isinstance(node, _PLAIN):
        return False
    if isinstance(node, nodes.Filter) and (node.name not in _FILTERS or node.node is None):
        return False
    for child in node.iter_child_nodes():
        printed = isinstance(node, nodes.Output)
        if isinstance(child, nodes.Name) and child.name in names and not printed:
            return False
        if not _harmless(child, names):
            return False
    return True


class Form:
    """A text with holes, made from a rendering that shows :data:`MARKS` in their places."""

    def __init__(self, rendered: str) -> None:
        self._parts = re.split(f"([{MARKS}])", rendered)
        holes = [MARKS.index(mark) for mark in self._parts[1::2]]
        self._pick = itemgetter(*holes) if len(holes) > 1 else None
        self._holes = holes

    def fill(self, values: Sequence[str]) -> str:
        """Return the text with ``values`` in its holes: one for each of :data:`MARKS`, in order."""
        parts = self._parts.copy()
        parts[1::2] = self._pick(values) if self._pick else [values[hole] for hole in self._holes]
        return "".join(parts)
