"""Planning: what a change would come to, without making it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bootserve.core.site.effects import Effect, effects_between, plan_warnings
from bootserve.core.snapshot import Snapshot, build_snapshot
from bootserve.core.transactions import Change, check_commit, warnings_of
from bootserve.model.desired import DesiredState, Revision

__all__ = ["Preview", "effects_since", "preview"]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change comes to, in terms of nodes, and what is probably meant otherwise."""

    effects: list[Effect]
    warnings: list[str]


def preview(change: Change, before: Snapshot) -> Preview:
    """Return what ``change`` would do to ``before``.

    Raises what the change or the check of its commit raises. Takes some 10 µs a node.
    """
    state = change(before.state)
    draft = replace(before.revision, number=before.revision.number + 1)
    after = build_snapshot(draft, state, before.generations, before.site_id, before.nbps, before)
    check_commit(before, after)
    warnings = dict.fromkeys([*plan_warnings(before, after), *warnings_of(before.state, state)])
    return Preview(effects_between(before, after), list(warnings))


def effects_since(revision: Revision, state: DesiredState, now: Snapshot) -> list[Effect]:
    """Return what became of nodes since ``revision``, whose state was ``state``.

    Both are judged by the generations that there are now.
    """
    old = build_snapshot(revision, state, now.generations, now.site_id, now.nbps)
    return effects_between(old, now)
