"""Reboots and the attempts of their hooks in SQL: what is done once is not done again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from enum import Enum
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select, tuple_, update

from bootserve.errors import InvalidInput, NotFound
from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.model.desired import Scope
from bootserve.model.hooks import HookOutcome, HookRun, HookWhen
from bootserve.model.reboot import RebootMethod
from bootserve.model.reboot_record import Reboot, RebootPhase, RebootShown
from bootserve.store.audit import append_changes
from bootserve.store.database import Database
from bootserve.store.reboot_tables import reboot, reboot_hook
from bootserve.store.within import is_within

__all__ = ["RebootStore"]

_R, _H = reboot, reboot_hook

KEPT_PER_NODE = 100
"""Ended reboots of one node that are kept."""


class RebootStore:
    """The reboots on record. Its methods block: use it in the database's thread.

    Every method raises Unavailable when the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, wanted: Reboot) -> RebootShown:
        """Put ``wanted`` on record and return it, or return what is on record under its id.

        Attempts of hooks that were under way when the server ended are unknown from now on; call
        it for a reboot once in a run of the server. The oldest ended ones of its node are dropped.
        """
        with self._database.write() as connection:
            row = connection.execute(select(_R).where(_R.c.id == wanted.id)).one_or_none()
            if row is None:
                connection.execute(insert(_R).values(_values(wanted)))
                _record(connection, wanted, "asked for", wanted.asked_at)
                _prune(connection, wanted.node)
                return RebootShown(wanted)
            _lose(connection, wanted.id, "the server ended meanwhile")
            return _shown(connection, row)

    def next_attempt(self, node: str) -> int:
        """Return the number that the next reboot of ``node`` by hand has; they count from 1."""
        query = (
            select(_R.c.attempt)
            .where(_R.c.node == node, _R.c.rollout == 0)
            .order_by(_R.c.attempt.desc())
        )
        with self._database.read() as connection:
            return int(connection.execute(query.limit(1)).scalar() or 0) + 1

    def change(self, reboot_id: str, **values: Any) -> None:
        """Set fields of a reboot, by their names in Reboot; one that ends has no hook under way."""
        with self._database.write() as connection:
            if values.get("ended_at"):
                _lose(connection, reboot_id, "it was left off")
            connection.execute(update(_R).where(_R.c.id == reboot_id).values(_plain(values)))
            if values.get("ended_at"):
                row = connection.execute(select(_R).where(_R.c.id == reboot_id)).one()
                ended = _shown(connection, row).reboot
                what = "done" if ended.done else "failed"
                _record(connection, ended, what, values["ended_at"])

    def started(self, reboot_id: str, run: HookRun) -> None:
        """Put an attempt of a hook on record, before it is made."""
        with self._database.write() as connection:
            connection.execute(insert(_H).values(reboot=reboot_id, **_values(run)))

    def finished(self, reboot_id: str, run: HookRun) -> None:
        """Put what became of an attempt on record."""
        this = (
            _H.c.reboot == reboot_id,
            _H.c.hook == run.hook,
            _H.c.attempt == run.attempt,
        )
        with self._database.write() as connection:
            connection.execute(update(_H).where(*this).values(_values(run)))

    def get(self, reboot_id: str) -> RebootShown:
        """Return one reboot; raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(select(_R).where(_R.c.id == reboot_id)).one_or_none()
            if row is None:
                raise NotFound(f"there is no reboot {reboot_id}", hint="See 'bootserve reboots'.")
            return _shown(connection, row)

    def unfinished(self) -> Sequence[RebootShown]:
        """Return the reboots asked for by hand that have not ended, the oldest first."""
        still = (_R.c.phase != RebootPhase.ENDED.value, _R.c.rollout == 0)
        return self._list(select(_R).where(*still).order_by(_R.c.asked_at, _R.c.id))

    def list(
        self,
        *,
        node: str | None = None,
        rollout: int | None = None,
        limit: int = 50,
        before: tuple[Any, ...] | None = None,
        within: Collection[Scope] | None = None,
    ) -> Sequence[RebootShown]:
        """Return at most ``limit`` reboots, of ``node`` or ``rollout`` alone, the newest first.

        ``before`` is when one was asked for and its id: only those before it. Raises InvalidInput
        when it is something else. ``within`` are racks and roles: only reboots of nodes that lie
        there now.
        """
        query = select(_R).order_by(_R.c.asked_at.desc(), _R.c.id.desc()).limit(limit)
        if before is not None:
            if [type(one) for one in before] != [float, str]:
                raise InvalidInput("query.cursor: not a cursor of this list")
            query = query.where(tuple_(_R.c.asked_at, _R.c.id) < tuple_(*before))
        if within is not None:
            query = query.where(is_within(_R.c.node, within))
        if node is not None:
            query = query.where(_R.c.node == node)
        if rollout is not None:
            query = query.where(_R.c.rollout == rollout)
        return self._list(query)

    def _list(self, query: Select[Any]) -> Sequence[RebootShown]:
        with self._database.read() as connection:
            return [_shown(connection, row) for row in connection.execute(query).all()]


def _values(record: Reboot | HookRun) -> dict[str, Any]:
    return _plain({one.name: getattr(record, one.name) for one in fields(record)})


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.value if isinstance(value, Enum) else value for name, value in values.items()
    }


def _record(connection: Connection, reboot: Reboot, what: str, at: float) -> None:
    """Put on the audit log what an admin asked for; of rollouts their own records tell."""
    if reboot.rollout:
        return
    subject = reboot.by if what == "asked for" else "bootserve"
    detail = {"reboot": reboot.id, "method": reboot.method.value, "what": what}
    about = (f"node/{reboot.node}",)
    append_changes(
        connection,
        AuditEntry(AuditKind.REBOOT, at, subject, reboot.failure, about=about, detail=detail),
    )


def _lose(connection: Connection, reboot_id: str, why: str) -> None:
    """Put on record that what became of the attempts under way is unknown."""
    under_way = (_H.c.reboot == reboot_id, _H.c.outcome == HookOutcome.RUNNING.value)
    lost = {"outcome": HookOutcome.UNKNOWN.value, "detail": why}
    connection.execute(update(_H).where(*under_way).values(lost))


def _prune(connection: Connection, node: str) -> None:
    ended = (_R.c.node == node, _R.c.phase == RebootPhase.ENDED.value)
    query = select(_R.c.id).where(*ended).order_by(_R.c.asked_at.desc())
    old = list(connection.execute(query.offset(KEPT_PER_NODE).limit(1000)).scalars())
    if old:
        connection.execute(delete(_H).where(_H.c.reboot.in_(old)))
        connection.execute(delete(_R).where(_R.c.id.in_(old)))


def _shown(connection: Connection, row: Row[Any]) -> RebootShown:
    found = Reboot(**row._mapping)
    found = replace(found, method=RebootMethod(found.method), phase=RebootPhase(found.phase))
    query = select(_H).where(_H.c.reboot == found.id).order_by(_H.c.started_at, _H.c.attempt)
    return RebootShown(found, tuple(_run(one) for one in connection.execute(query)))


def _run(row: Row[Any]) -> HookRun:
    values = dict(row._mapping)
    del values["reboot"]
    values["when"], values["outcome"] = HookWhen(values["when"]), HookOutcome(values["outcome"])
    return HookRun(**values)
