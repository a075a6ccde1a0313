"""The nodes of a revision, as servers look them up: by MAC, and by what they have in common.

Nodes of one group boot alike but for pins of their own, so a change of pins is resolved for some
hundred groups in place of a hundred thousand nodes. A fleet is made from the one before it at the
cost of what changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bootserve.model.desired import BootFrom, Node
from bootserve.model.names import Arch, Mac

__all__ = ["Fleet", "Group", "group_of", "make_fleet", "node_of"]


Group = tuple[str, str, str, Arch, BootFrom]
"""What decides which generation a node without a pin of its own boots: role, rack, image, …"""


def group_of(node: Node) -> Group:
    """Return the group that ``node`` is in."""
    return node.role, node.rack, node.image, node.arch, node.boot


def node_of(group: Group) -> Node:
    """Return a nameless node of ``group``, to stand for all of them."""
    role, rack, image, arch, boot = group
    return Node("", (), rack, role, arch, image, boot=boot)


@dataclass(frozen=True)
class Fleet:
    """Nodes by name and by MAC, and how many are in each group.

    ``lost`` is whether a name or MAC of the fleet before it is in it no more.
    """

    nodes: Mapping[str, Node]
    by_mac: Mapping[Mac, Node]
    groups: Mapping[Group, int]
    lost: bool = field(default=False, compare=False)

    @cached_property
    def names(self) -> Sequence[str]:
        """The nodes' names, sorted at the first look: for lists, not for boots."""
        return sorted(self.nodes)


def make_fleet(nodes: Mapping[str, Node], before: Fleet | None = None) -> Fleet:
    """Return the fleet of ``nodes``; ``before`` is one that has most of them."""
    if before is None:
        before = Fleet({}, {}, {})
    if nodes is before.nodes:
        return before
    gone = [node for name, node in before.nodes.items() if nodes.get(name) is not node]
    new = [node for name, node in nodes.items() if before.nodes.get(name) is not node]
    by_mac, groups = dict(before.by_mac), Counter(before.groups)
    for node in gone:
        for mac in node.macs:
            by_mac.pop(mac, None)
    for node in new:
        for mac in node.macs:
            by_mac[mac] = node
    groups.subtract(map(group_of, gone))
    groups.update(map(group_of, new))
    lost = any(
        node.name not in nodes or any(mac not in by_mac for mac in node.macs) for node in gone
    )
    return Fleet(nodes, by_mac, {group: count for group, count in groups.items() if count}, lost)
