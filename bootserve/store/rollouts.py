"""Rollouts in SQL: each step in one transaction, with the revision that it makes, if any."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from bootserve.core.rollout import Step
from bootserve.errors import Conflict, NotFound
from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.model.desired import Pin, Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.reboot import RebootMethod
from bootserve.model.rollout import (
    CountedRollout,
    Member,
    MemberState,
    Policy,
    Rollout,
    RolloutEvent,
    RolloutState,
    StageFailure,
)
from bootserve.store import rollout_tables as tables
from bootserve.store.audit import append_changes
from bootserve.store.database import Database
from bootserve.store.dialect import upsert

__all__ = ["RolloutStore", "save_step", "unfinished"]

_R, _M, _E = tables.rollout, tables.rollout_member, tables.rollout_event


class RolloutStore:
    """Rollouts. Its methods block: use it in the database's thread.

    Every method raises Unavailable when the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, planned: Rollout) -> Rollout:
        """Store a new rollout and return it with its number."""
        with self._database.write() as connection:
            last = connection.execute(select(func.max(_R.c.number))).scalar() or 0
            made = replace(planned, number=last + 1)
            connection.execute(insert(_R).values(_row(made)))
            rows = [_member_row(made.number, one) for one in made.members.values()]
            connection.execute(insert(_M), rows)
            event = RolloutEvent(made.created_at, f"started by {made.created_by}")
            _tell(connection, made, [event], made.created_by)
        return made

    def save(self, before: Rollout, step: Step, by: str) -> None:
        """Store a step of ``by`` that moves no pins; Conflict unless ``before`` is stored."""
        with self._database.write() as connection:
            save_step(connection, before, step, by)

    def list(self, *, limit: int = 50, before: int | None = None) -> Sequence[CountedRollout]:
        """Return at most ``limit`` rollouts, the newest first, with numbers below ``before``."""
        query = select(_R).order_by(_R.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(_R.c.number < before)
        with self._database.read() as connection:
            return _counted(connection, connection.execute(query).all())

    def with_nodes(self, numbers: Iterable[int], nodes: Sequence[str]) -> Set[int]:
        """Return those of the rollouts ``numbers`` that one of ``nodes`` is or was in."""
        found, left = set[int](), set(numbers)
        with self._database.read() as connection:
            for start in range(0, len(nodes), 500):
                if not left:
                    break
                some = _M.c.rollout.in_(left), _M.c.node.in_(nodes[start : start + 500])
                found |= set(connection.execute(select(_M.c.rollout).where(*some)).scalars())
                left -= found
        return found

    def unfinished(self) -> Sequence[Rollout]:
        """Return the rollouts that may still hold nodes, the oldest first."""
        with self._database.read() as connection:
            return unfinished(connection)

    def load(self, number: int) -> Rollout:
        """Return one rollout; raises NotFound."""
        with self._database.read() as connection:
            rows = connection.execute(select(_R).where(_R.c.number == number)).all()
            if not rows:
                raise NotFound(
                    f"there is no rollout {number}", hint="See 'bootserve rollout list'."
                )
            return _loaded(connection, rows)[0]

    def events(self, number: int, *, limit: int = 50) -> Sequence[RolloutEvent]:
        """Return the last ``limit`` lines of a rollout's story, the oldest of them first."""
        newest = (_E.c.version.desc(), _E.c.place.desc())
        query = select(_E).where(_E.c.rollout == number).order_by(*newest).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [RolloutEvent(row.at, row.text, row.node, row.revision) for row in reversed(rows)]


def unfinished(connection: Connection) -> Sequence[Rollout]:
    """Return the rollouts that may still hold nodes, the oldest first."""
    query = select(_R).where(_R.c.state != RolloutState.DONE.value).order_by(_R.c.number)
    found = _loaded(connection, connection.execute(query).all())
    return [one for one in found if one.open]


def save_step(
    connection: Connection, before: Rollout, step: Step, by: str, revision: int = 0
) -> None:
    """Store ``step`` of ``before``, by ``by``, in the caller's transaction.

    ``revision`` is the one that is made there, 0 for none. Raises Conflict when ``before`` is not
    what is stored.
    """
    match = (_R.c.number == before.number, _R.c.version == before.version)
    if connection.execute(update(_R).where(*match).values(_row(step.rollout))).rowcount != 1:
        raise Conflict(f"rollout {before.number} has moved on meanwhile", hint="Look at it again.")
    if step.changed:
        rows = [_member_row(before.number, one) for one in step.changed]
        statement = upsert(connection, _M)
        names = [column.name for column in _M.columns if not column.primary_key]
        given = {name: statement.excluded[name] for name in names}
        merged = statement.on_conflict_do_update(index_elements=["rollout", "node"], set_=given)
        connection.execute(merged, rows)
    _tell(connection, step.rollout, step.events, by, revision)


def _tell(
    connection: Connection,
    rollout: Rollout,
    events: Sequence[RolloutEvent],
    by: str,
    revision: int = 0,
) -> None:
    """Add ``events`` to the rollout's story, and to the audit log."""
    rows = [
        {
            "rollout": rollout.number,
            "version": rollout.version,
            "place": place,
            "at": event.at,
            "text": event.text,
            "node": event.node,
            "revision": 0 if event.node else revision,
        }
        for place, event in enumerate(events)
    ]
    if rows:
        connection.execute(insert(_E), rows)
        append_changes(connection, *(_entry(rollout, one, by, revision) for one in events))


def _entry(rollout: Rollout, event: RolloutEvent, by: str, revision: int) -> AuditEntry:
    about = [f"rollout/{rollout.number}", str(rollout.scope)]
    if event.node:
        about.append(f"node/{event.node}")
    return AuditEntry(
        AuditKind.ROLLOUT,
        event.at,
        by,
        f"rollout {rollout.number}: {event.text}",
        revision or None,
        about=tuple(about),
        detail={"rollout": rollout.number, "state": rollout.state.value, "stage": rollout.stage},
    )


def _row(rollout: Rollout) -> dict[str, Any]:
    return {
        "number": rollout.number,
        "scope": str(rollout.scope),
        "generation": str(rollout.generation),
        "root": rollout.root,
        "stages": json.dumps(rollout.stages),
        "policy": json.dumps(asdict(rollout.policy)),
        "base": str(rollout.base.generation) if rollout.base else "",
        "created_at": rollout.created_at,
        "created_by": rollout.created_by,
        "state": rollout.state.value,
        "stage": rollout.stage,
        "stage_since": rollout.stage_since,
        "paused_at": rollout.paused_at,
        "ended_at": rollout.ended_at,
        "reason": rollout.reason,
        "version": rollout.version,
    }


def _member_row(number: int, member: Member) -> dict[str, Any]:
    return {
        "rollout": number,
        "node": member.node,
        "stage": member.stage,
        "state": member.state.value,
        "since": member.since,
        "attempt": member.attempt,
        "pinned": member.pinned,
        "up": member.up,
        "then": member.then.value,
        "before": str(member.before) if member.before else "",
        "boot": member.boot,
        "detail": member.detail,
    }


def _counted(connection: Connection, rows: Sequence[Row[Any]]) -> list[CountedRollout]:
    kind = _M.c.rollout, _M.c.stage, _M.c.state, _M.c.pinned
    query = select(*kind, func.count().label("nodes")).group_by(*kind)
    counts: dict[int, Counter[tuple[int, MemberState, bool]]] = defaultdict(Counter)
    for row in connection.execute(query.where(_M.c.rollout.in_([row.number for row in rows]))):
        counts[row.rollout][row.stage, MemberState(row.state), bool(row.pinned)] = row.nodes
    return [CountedRollout(_rollout(row, {}), counts[row.number]) for row in rows]


def _loaded(connection: Connection, rows: Sequence[Row[Any]]) -> list[Rollout]:
    numbers = [row.number for row in rows]
    members: dict[int, dict[str, Member]] = {number: {} for number in numbers}
    query = select(_M).where(_M.c.rollout.in_(numbers)).order_by(_M.c.stage, _M.c.node)
    for row in connection.execute(query):
        members[row.rollout][row.node] = _member(row)
    return [_rollout(row, members[row.number]) for row in rows]


def _member(row: Row[Any]) -> Member:
    return Member(
        node=row.node,
        stage=row.stage,
        state=MemberState(row.state),
        since=row.since,
        attempt=row.attempt,
        pinned=row.pinned,
        up=row.up,
        then=MemberState(row.then),
        before=GenerationRef.parse(row.before) if row.before else None,
        boot=row.boot,
        detail=row.detail,
    )


def _rollout(row: Row[Any], members: dict[str, Member]) -> Rollout:
    scope = Scope.parse(row.scope)
    policy = json.loads(row.policy)
    policy |= {"method": RebootMethod(policy["method"])}
    policy |= {"on_failure": StageFailure(policy["on_failure"])}
    return Rollout(
        number=row.number,
        scope=scope,
        generation=GenerationRef.parse(row.generation),
        root=row.root,
        stages=tuple(json.loads(row.stages)),
        policy=Policy(**policy),
        created_at=row.created_at,
        created_by=row.created_by,
        base=Pin(scope, GenerationRef.parse(row.base)) if row.base else None,
        state=RolloutState(row.state),
        stage=row.stage,
        stage_since=row.stage_since,
        paused_at=row.paused_at,
        ended_at=row.ended_at,
        reason=row.reason,
        version=row.version,
        members=members,
    )
