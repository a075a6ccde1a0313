"""What the admin plane's handlers work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bootserve.core.diffs import DiffBook
from bootserve.core.drift import Watch
from bootserve.core.heartbeats import HeartbeatBook
from bootserve.core.shapes import ShapeBook
from bootserve.core.snapshot import NodePlan, Snapshot
from bootserve.errors import NotFound
from bootserve.model.desired import Revision
from bootserve.servers.admin.accessbook import AccessBook
from bootserve.servers.admin.repeats import Repeats
from bootserve.servers.admin.schemas import CommitOut, RevisionOut
from bootserve.servers.admin.schemas_access import LoginOut
from bootserve.servers.admin.schemas_seen import StatusOut
from bootserve.servers.audit import AuditDesk
from bootserve.servers.boot.guards import Guards
from bootserve.servers.boot.sending import Sender
from bootserve.servers.collector import Collector
from bootserve.servers.committer import Committed, Committer
from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.servers.reboots.parts import Reboots
from bootserve.servers.rollouts.desk import RolloutDesk
from bootserve.store.artifacts import ArtifactStore
from bootserve.store.boots import BootStore
from bootserve.store.desired import DesiredStore
from bootserve.store.drift import DriftStore
from bootserve.store.generations import GenerationStore
from bootserve.store.history import HistoryStore
from bootserve.store.once import OnceStore

__all__ = ["AdminPlane", "DriftSight", "committed", "find_plan", "revision_out"]


@dataclass(frozen=True, slots=True)
class DriftSight:
    """What is known of what nodes run, and of what was altered on them.

    ``watch`` returns since when the server listens to them.
    """

    book: HeartbeatBook
    diffs: DiffBook
    store: DriftStore
    watch: Callable[[], Watch]


@dataclass(frozen=True, slots=True)
class AdminPlane:
    """The stores and services behind the API.

    ``flush`` carries what the journal holds to SQL, so that a read sees what was acknowledged
    before it. ``reload`` reads templates and quirks again; ``check`` verifies one artifact and
    quarantines it when it is bad, ``scrub`` the whole artifact store: it returns how many were
    read and which were quarantined.
    """

    current: Current
    committer: Committer
    database: DatabaseThread
    desired: DesiredStore
    generations: GenerationStore
    boots: BootStore
    artifacts: ArtifactStore
    collector: Collector
    sender: Sender
    http_base: str
    guards: Guards
    once_history: OnceStore
    flush: Callable[[], Awaitable[None]]
    status: Callable[[], Awaitable[StatusOut]]
    reload: Callable[[], None]
    check: Callable[[str], Awaitable[bool]]
    scrub: Callable[[], Awaitable[tuple[int, list[str]]]]
    shapes: ShapeBook
    repeats: Repeats
    reboots: Reboots
    access: AccessBook
    login: LoginOut
    rollouts: RolloutDesk
    audit: AuditDesk
    history: HistoryStore
    drift: DriftSight


def find_plan(snapshot: Snapshot, name: str) -> NodePlan:
    """Return the plan of node ``name``; raises NotFound."""
    plan = snapshot.plans.get(name)
    if plan is None:
        raise NotFound(f"there is no node {name}", hint="See 'bootserve node list'.")
    return plan


def revision_out(revision: Revision) -> RevisionOut:
    """Return a model Revision as the API shows it."""
    return RevisionOut.model_validate(revision, from_attributes=True)


def committed(result: Committed, *, unrestorable: list[str] | None = None) -> CommitOut:
    """Return a commit as the API shows it."""
    return CommitOut(
        revision=revision_out(result.revision),
        nodes_changed=result.nodes_changed,
        warnings=result.warnings,
        unrestorable=unrestorable or [],
    )
