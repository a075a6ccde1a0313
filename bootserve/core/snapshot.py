"""The snapshot: one revision with every pin already resolved, looked up by MAC.

A server answers nodes from one of these and swaps it whole when a revision commits, so a boot
costs one dictionary lookup however many nodes there are, and no reader sees half a revision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from bootserve.core.nbps import Nbps
from bootserve.core.resolve import Action, Generations, Resolution, kernel_args_of, resolve
from bootserve.model.desired import DesiredState, Node, Revision
from bootserve.model.names import Mac

__all__ = ["NodePlan", "Snapshot", "build_snapshot", "machine_id"]


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What one node does at its next boot."""

    node: Node
    resolution: Resolution
    kernel_args: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One revision, resolved. ``site_id`` is a random name of this installation."""

    revision: Revision
    state: DesiredState
    generations: Generations
    site_id: str
    plans: Mapping[str, NodePlan]
    by_mac: Mapping[Mac, NodePlan]
    nbps: Nbps = field(default_factory=dict)

    def plan(self, mac: Mac) -> NodePlan | None:
        """Return the plan of the node that has ``mac``, or None for an unknown machine."""
        return self.by_mac.get(mac)

    def unresolvable(self) -> Iterator[NodePlan]:
        """Yield the plans of the nodes whose pin cannot be followed."""
        return (
            plan for plan in self.plans.values() if plan.resolution.action is Action.UNRESOLVABLE
        )


def build_snapshot(
    revision: Revision,
    state: DesiredState,
    generations: Generations,
    site_id: str,
    nbps: Nbps | None = None,
) -> Snapshot:
    """Return the snapshot of ``state``; some 5 µs a node, so off the loop for a large site."""
    plans = {}
    by_mac = {}
    for node in state.nodes.values():
        plan = NodePlan(node, resolve(state, node, generations), kernel_args_of(state, node))
        plans[node.name] = plan
        for mac in node.macs:
            by_mac[mac] = plan
    return Snapshot(revision, state, generations, site_id, plans, by_mac, nbps or {})


def machine_id(site_id: str, node_name: str) -> str:
    """Return the node's machine-id (machine-id(5): 32 hex digits), the same at every boot.

    It is derived from the site's random name, so that the same node name elsewhere differs, and
    shaped as a version 4 UUID, as systemd asks of ids that are not from a machine.
    """
    digest = bytearray(sha256(f"machine-id\0{site_id}\0{node_name}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x40
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()
