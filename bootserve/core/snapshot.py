"""The snapshot: one revision with every pin already resolved, looked up by MAC.

A server answers nodes from one of these and swaps it whole when a revision commits, so a boot
costs two dictionary lookups however many nodes there are, and no reader sees half a revision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from bootserve.core.fleet import Fleet, Group, group_of, make_fleet, node_of
from bootserve.core.nbps import Nbps, nbps_of
from bootserve.core.resolve import Action, Generations, Resolution, kernel_args_of, resolve
from bootserve.model.desired import DesiredState, Node, PinKey, Revision, ScopeKind
from bootserve.model.generation import Generation, GenerationRef
from bootserve.model.names import Mac
from bootserve.model.nbp import NbpArch

__all__ = ["NodePlan", "Snapshot", "build_snapshot", "changed_nodes", "machine_id"]

Outcome = tuple[Action, GenerationRef | None, tuple[tuple[NbpArch, str], ...]]


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What one node does at its next boot."""

    node: Node
    resolution: Resolution
    kernel_args: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One revision, resolved. ``site_id`` is a random name of this installation.

    ``resolved`` is what each group boots, and with which kernel arguments of role and rack;
    ``pinned`` names the nodes that have pins of their own, of generations or NBPs.
    """

    revision: Revision
    state: DesiredState
    generations: Generations
    site_id: str
    fleet: Fleet = field(repr=False)
    resolved: Mapping[Group, tuple[Resolution, str]] = field(repr=False)
    pinned: frozenset[str] = field(repr=False)
    nbps: Nbps = field(default_factory=dict)

    @property
    def by_mac(self) -> Mapping[Mac, Node]:
        """The nodes by each of their MACs."""
        return self.fleet.by_mac

    @property
    def plans(self) -> Mapping[str, NodePlan]:
        """The plans of all nodes, by name."""
        return _Plans(self)

    def plan(self, mac: Mac) -> NodePlan | None:
        """Return the plan of the node that has ``mac``, or None for an unknown machine."""
        node = self.fleet.by_mac.get(mac)
        return None if node is None else self.plan_of(node)

    def plan_of(self, node: Node) -> NodePlan:
        """Return the plan of ``node``, which is one of this revision's."""
        if node.name in self.pinned:
            args = kernel_args_of(self.state, node)
            return NodePlan(node, resolve(self.state, node, self.generations), args)
        resolution, shared = self.resolved[group_of(node)]
        if node.kernel_args:
            shared = f"{shared} {node.kernel_args}" if shared else node.kernel_args
        return NodePlan(node, resolution, shared)

    def damaged(self) -> list[Generation]:
        """Return the generations whose stored manifest is damaged, removed ones too."""
        return [one for one in self.generations.values() if one.damaged]

    def unresolvable(self) -> Iterator[NodePlan]:
        """Yield the plans of the nodes whose pin cannot be followed."""
        stuck = {
            group
            for group, (resolution, _) in self.resolved.items()
            if resolution.action is Action.UNRESOLVABLE
        }
        names = self.state.nodes if stuck else self._pinned_nodes()
        for name in names:
            plan = self.plans[name]
            if plan.resolution.action is Action.UNRESOLVABLE:
                yield plan

    def decided(self) -> Counter[PinKey]:
        """Return for each pin how many nodes it decides."""
        counts: Counter[PinKey] = Counter()
        for group, nodes in self.fleet.groups.items():
            pin = self.resolved[group][0].pin
            if pin is not None:
                counts[pin.key] += nodes
        for name in self._pinned_nodes():
            node = self.state.nodes[name]
            for pin, one in (
                (self.resolved[group_of(node)][0].pin, -1),
                (self.plan_of(node).resolution.pin, 1),
            ):
                if pin is not None:
                    counts[pin.key] += one
        return +counts

    def _pinned_nodes(self) -> Iterator[str]:
        return (name for name in self.pinned if name in self.state.nodes)


class _Plans(Mapping[str, NodePlan]):
    """The plans of a snapshot's nodes, each made when it is looked at."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._nodes = snapshot.state.nodes

    def __getitem__(self, name: str) -> NodePlan:
        return self._snapshot.plan_of(self._nodes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


def build_snapshot(
    revision: Revision,
    state: DesiredState,
    generations: Generations,
    site_id: str,
    nbps: Nbps | None = None,
    before: Snapshot | None = None,
) -> Snapshot:
    """Return the snapshot of ``state``.

    With ``before``, the snapshot that it follows, at the cost of the nodes that differ and one
    resolution for each group; else some 2 µs a node, so off the loop for a large site.
    """
    fleet = make_fleet(state.nodes, before.fleet if before else None)
    resolved = {}
    for group in fleet.groups:
        alike = node_of(group)
        resolved[group] = resolve(state, alike, generations), kernel_args_of(state, alike)
    scopes = (*(key.scope for key in state.pins), *(key.scope for key in state.nbp_pins))
    pinned = frozenset(scope.name for scope in scopes if scope.kind is ScopeKind.NODE)
    return Snapshot(revision, state, generations, site_id, fleet, resolved, pinned, nbps or {})


def _outcome(snapshot: Snapshot, node: Node, resolution: Resolution) -> Outcome:
    """Return what ``node`` boots, and the NBPs pinned for it."""
    generation = resolution.generation
    nbps = nbps_of(snapshot.state, node, snapshot.nbps) if snapshot.state.nbp_pins else []
    loaded = tuple((choice.pin.arch, choice.pin.nbp) for choice in nbps)
    return resolution.action, generation.ref if generation else None, loaded


def _group_outcome(snapshot: Snapshot, group: Group) -> Outcome:
    return _outcome(snapshot, node_of(group), snapshot.resolved[group][0])


def _node_outcome(snapshot: Snapshot, name: str) -> Outcome:
    plan = snapshot.plans[name]
    return _outcome(snapshot, plan.node, plan.resolution)


def changed_nodes(before: Snapshot, after: Snapshot) -> int:
    """Return how many nodes are new, gone, or boot something else than before."""
    old, new = before.state.nodes, after.state.nodes
    different = {
        group
        for group in after.resolved.keys() & before.resolved.keys()
        if _group_outcome(before, group) != _group_outcome(after, group)
    }
    count = sum(after.fleet.groups[group] for group in different)
    singly = {name for name in before.pinned | after.pinned if name in new}
    if old is not new:
        singly.update(name for name, node in new.items() if old.get(name) is not node)
        count += sum(1 for name in old if name not in new)
    for name in singly:
        count -= group_of(new[name]) in different
        count += name not in old or _node_outcome(before, name) != _node_outcome(after, name)
    return count


def machine_id(site_id: str, node_name: str) -> str:
    """Return the node's machine-id (machine-id(5): 32 hex digits), the same at every boot.

    It is derived from the site's random name, so that the same node name elsewhere differs, and
    shaped as a version 4 UUID, as systemd asks of ids that are not from a machine.
    """
    digest = bytearray(sha256(f"machine-id\0{site_id}\0{node_name}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x40
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()
