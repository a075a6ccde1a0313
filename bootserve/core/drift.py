"""Judges a node: stale, altered, silent, or nothing of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bootserve.core.heartbeats import HeartbeatBook, Running
from bootserve.core.resolve import Action
from bootserve.core.snapshot import NodePlan, Snapshot
from bootserve.model.drift import DriftState

__all__ = ["UNKNOWN", "Verdict", "Watch", "judge", "overdue", "verdicts"]

UNKNOWN = "unknown"
"""What a node says of its baseline or drift when it cannot tell."""

_LATE = 1.25
"""A heartbeat is jittered by a tenth to both sides, and its way takes time."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Since when the server listens (seconds since the epoch), and how many heartbeats may lack."""

    since: float
    missed: int = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a node, and why, in a sentence each; nothing when ``reasons`` is empty."""

    plan: NodePlan
    running: Running | None
    reasons: Mapping[DriftState, str]


def overdue(running: Running, now: float, watch: Watch) -> bool:
    """Return whether a node that sends heartbeats has let ``watch.missed`` of them pass.

    The time in which this server was not there to hear any does not count.
    """
    patience = running.interval * watch.missed * _LATE
    return running.agent and now - max(running.last_seen, watch.since) > patience


def judge(plan: NodePlan, running: Running | None, now: float, watch: Watch) -> Verdict:
    """Return what is wrong with the node of ``plan``, which reported ``running`` last.

    A node that never reported is not wrong: it is not known to have ever been up.
    """
    if running is None:
        return Verdict(plan, None, {})
    found = {
        DriftState.STALE: _stale(plan, running),
        DriftState.ALTERED: _altered(running),
        DriftState.SILENT: _silent(running, now, watch),
    }
    return Verdict(plan, running, {state: reason for state, reason in found.items() if reason})


def verdicts(
    snapshot: Snapshot, book: HeartbeatBook, now: float, watch: Watch
) -> Iterator[Verdict]:
    """Yield the verdict on each node of the snapshot that has reported, by name."""
    for running in sorted(book, key=lambda one: one.node):
        plan = snapshot.plans.get(running.node)
        if plan is not None:
            yield judge(plan, running, now, watch)


def _stale(plan: NodePlan, running: Running) -> str:
    resolution = plan.resolution
    wanted = resolution.generation
    if resolution.action is Action.BOOT and wanted is not None:
        if wanted.digest == running.digest:
            return ""
        return f"it runs {running.generation}, and would boot {wanted.ref} now"
    return f"it runs {running.generation}, and would not boot it now: {resolution.reason}"


def _altered(running: Running) -> str:
    if not running.agent:
        return ""
    if running.root != running.expected_root:
        if running.root:
            return f"its root has the digest {running.root}, and its boot {running.expected_root}"
        return "its root is no longer the device that it was at up"
    if UNKNOWN in (running.baseline, running.drift):
        return "it cannot tell what was altered: its log says why"
    if running.baseline != running.sealed:
        return "it compares itself with another snapshot than the one that was sealed at up"
    if running.drift != running.known:
        return "it has drift that it has not told yet"
    if not running.count:
        return ""
    paths = "path has" if running.count == 1 else "paths have"
    return f"{running.count} {paths} been altered since it came up"


def _silent(running: Running, now: float, watch: Watch) -> str:
    if not overdue(running, now, watch):
        return ""
    return f"not heard from for {now - running.last_seen:.0f} s; due every {running.interval:.0f} s"
