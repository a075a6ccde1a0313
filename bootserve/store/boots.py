"""Boots, phases, reports, tokens and discovered machines in SQL, filled from the journal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, exists, func, or_, select

from bootserve.errors import NotFound
from bootserve.model.audit import AuditEntry, AuditKind
from bootserve.model.boot import Boot, Discovered, Phase, PhaseSeen
from bootserve.model.desired import Scope
from bootserve.model.generation import GenerationRef
from bootserve.model.names import Mac
from bootserve.model.shape import SHAPES, LearnedShape
from bootserve.store import tables
from bootserve.store.audit import append_changes
from bootserve.store.boots_apply import applied_sequence, apply_records
from bootserve.store.database import Database
from bootserve.store.records import GapRecord, JournalRecord, ReportRecord
from bootserve.store.within import is_within

__all__ = ["BootHistory", "BootStore", "DiscoveredMachine"]

_B = tables.boot
_ORDER = {phase: place for place, phase in enumerate(Phase)}


@dataclass(frozen=True, slots=True)
class BootHistory:
    """A boot, the phases seen of it in order of time, and what its node last said it runs.

    A phase that was seen several times has the time of the first and the detail of the last.
    ``running`` (``IMAGE@N``) and ``root`` (digest, hex) are empty until the node reported them.
    """

    boot: Boot
    phases: tuple[PhaseSeen, ...]
    running: str = ""
    root: str = ""


@dataclass(frozen=True, slots=True)
class DiscoveredMachine:
    """A discovered machine and when, and how often, it was recorded (seconds since the epoch)."""

    machine: Discovered
    first_seen: float
    last_seen: float
    times: int


class BootStore:
    """What nodes did. Its methods block: use it in the database's thread.

    Every method raises Unavailable when the database is away.
    """

    def __init__(self, database: Database, journal: str, *, max_discovered: int = 4096) -> None:
        """``journal`` is the id of the journal that is applied here.

        ``max_discovered`` bounds the number of discovered machines; the one unseen for longest
        goes first.
        """
        self._database = database
        self._journal = journal
        self._max_discovered = max_discovered

    def applied(self) -> int:
        """Return the sequence through which the journal is applied; 0 for none."""
        with self._database.read() as connection:
            return applied_sequence(connection, self._journal)

    def apply(self, records: Iterable[tuple[int, JournalRecord]], through: int) -> None:
        """Store (sequence, record) pairs and that the journal is applied up to ``through``.

        One transaction: after a crash all of it is there or nothing. Records that were applied
        before are passed over, so that applying again never doubles. Raises StorageFull or
        Unavailable.
        """
        with self._database.write() as connection:
            apply_records(connection, self._journal, records, through)
            _evict_discovered(connection, self._max_discovered)

    def boots(
        self,
        node: str | None = None,
        *,
        limit: int = 50,
        before: str | None = None,
        within: Collection[Scope] | None = None,
    ) -> Sequence[BootHistory]:
        """Return at most ``limit`` boots, of ``node`` or all, the newest first.

        ``before`` is the id of a boot: only older ones than it. ``within`` are racks and roles:
        only boots of nodes that lie there now. Raises NotFound when there is no such boot.
        """
        query = select(_B).order_by(_B.c.minted_at.desc(), _B.c.id.desc()).limit(limit)
        if node is not None:
            query = query.where(_B.c.node == node)
        if within is not None:
            query = query.where(is_within(_B.c.node, within))
        with self._database.read() as connection:
            if before is not None:
                edge = _row(connection, before)
                older = and_(_B.c.minted_at == edge.minted_at, _B.c.id < edge.id)
                query = query.where(or_(_B.c.minted_at < edge.minted_at, older))
            return _histories(connection, query)

    def boot(self, boot_id: str) -> BootHistory:
        """Return one boot; raises NotFound."""
        with self._database.read() as connection:
            _row(connection, boot_id)
            return _histories(connection, select(_B).where(_B.c.id == boot_id))[0]

    def last_boot(self, node: str) -> BootHistory | None:
        """Return the newest boot of ``node``, or None when it never booted."""
        return next(iter(self.boots(node, limit=1)), None)

    def last_boots(self) -> dict[str, BootHistory]:
        """Return the newest boot of every node that ever booted, by node name."""
        newest = (
            select(_B.c.node, func.max(_B.c.minted_at).label("at")).group_by(_B.c.node).subquery()
        )
        query = (
            select(_B)
            .join(newest, and_(_B.c.node == newest.c.node, _B.c.minted_at == newest.c.at))
            .order_by(_B.c.id)
        )
        with self._database.read() as connection:
            return {history.boot.node: history for history in _histories(connection, query)}

    def revisions_of(self, boots: Sequence[str]) -> dict[str, int]:
        """Return the revision of each of ``boots`` that is known, by its id."""
        found: dict[str, int] = {}
        with self._database.read() as connection:
            for start in range(0, len(boots), 500):
                query = select(_B.c.id, _B.c.revision).where(
                    _B.c.id.in_(boots[start : start + 500])
                )
                found |= {row.id: row.revision for row in connection.execute(query)}
        return found

    def active_since(self, since: float) -> Sequence[BootHistory]:
        """Return the boots minted after ``since`` (epoch seconds), the oldest first."""
        query = select(_B).where(_B.c.minted_at > since).order_by(_B.c.minted_at, _B.c.id)
        with self._database.read() as connection:
            return _histories(connection, query)

    def count_since(self, since: float) -> tuple[int, int]:
        """Return how many boots were minted after ``since`` (epoch seconds), how many came up."""
        p = tables.boot_phase
        minted = select(func.count()).select_from(_B).where(_B.c.minted_at > since)
        came_up = and_(p.c.boot == _B.c.id, p.c.phase == Phase.UP.value)
        with self._database.read() as connection:
            boots = connection.execute(minted).scalar_one()
            return boots, connection.execute(minted.where(exists().where(came_up))).scalar_one()

    def reports(self, boot_id: str) -> Sequence[ReportRecord]:
        """Return what the node said during a boot, in order, with its log texts."""
        t = tables.report
        query = select(t).where(t.c.boot == boot_id).order_by(t.c.at, t.c.journal, t.c.sequence)
        names = ("boot", "phase", "at", "generation", "root", "uptime", "detail")
        with self._database.read() as connection:
            rows = connection.execute(query).mappings()
            return [ReportRecord(**{name: row[name] for name in names}) for row in rows]

    def token_of_boot(self, boot_id: str) -> str | None:
        """Return the sha256 of the token that a boot id was traded for, or None."""
        t = tables.boot_token
        query = select(t.c.hash).where(t.c.boot == boot_id)
        with self._database.read() as connection:
            return connection.execute(query).scalar()

    def tokens_since(self, since: float) -> dict[str, str]:
        """Return the tokens' sha256 of the boots of :meth:`active_since`, by the boot's id."""
        t = tables.boot_token
        query = select(t.c.boot, t.c.hash).join(_B, _B.c.id == t.c.boot)
        with self._database.read() as connection:
            rows = connection.execute(query.where(_B.c.minted_at > since))
            return {row.boot: row.hash for row in rows}

    def gaps(self, *, limit: int = 50) -> Sequence[GapRecord]:
        """Return the latest losses of the journal, the newest first."""
        t = tables.journal_gap
        query = select(t).order_by(t.c.last_at.desc(), t.c.sequence.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings()
            return [GapRecord(row["count"], row["first_at"], row["last_at"]) for row in rows]

    def discovered(self) -> Sequence[DiscoveredMachine]:
        """Return the discovered machines, the one seen last first."""
        t = tables.discovered
        query = select(t).order_by(t.c.last_seen.desc(), t.c.mac)
        with self._database.read() as connection:
            return [_machine(row) for row in connection.execute(query)]

    def count_discovered(self) -> int:
        """Return how many machines are discovered."""
        with self._database.read() as connection:
            return connection.execute(
                select(func.count()).select_from(tables.discovered)
            ).scalar_one()

    def shapes(self) -> Sequence[LearnedShape]:
        """Return the offer shapes that were learned, by MAC."""
        t = tables.offer_shape
        query = select(t).where(t.c.shape.in_(SHAPES)).order_by(t.c.mac)
        with self._database.read() as connection:
            rows = connection.execute(query)
            return [LearnedShape(row.mac, row.shape, row.at) for row in rows]

    def forget_discovered(self, mac: Mac, *, at: float = 0.0, by: str = "") -> None:
        """Drop a discovered machine, say because it is a node now; raises NotFound.

        ``at`` is seconds since the epoch, ``by`` who says so.
        """
        t = tables.discovered
        with self._database.write() as connection:
            if connection.execute(delete(t).where(t.c.mac == mac)).rowcount == 0:
                raise NotFound(f"no machine with the MAC address {mac} was discovered")
            append_changes(
                connection, AuditEntry(AuditKind.FORGET, at, by, detail={"mac": str(mac)})
            )


def _row(connection: Connection, boot_id: str) -> Row[Any]:
    row = connection.execute(select(_B).where(_B.c.id == boot_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no boot {boot_id[:80]!r}")
    return row


def _histories(connection: Connection, query: Select[Any]) -> list[BootHistory]:
    rows = connection.execute(query).all()
    chosen = select(query.subquery().c.id)
    phases = _phases(connection, chosen)
    reports = _last_reports(connection, chosen)
    return [
        BootHistory(
            Boot(
                id=row.id,
                node=row.node,
                mac=row.mac,
                generation=GenerationRef(row.image, row.number),
                digest=row.digest,
                revision=row.revision,
                minted_at=row.minted_at,
                address=row.address,
            ),
            _with_script(phases.get(row.id, []), row.id, row.minted_at),
            *reports.get(row.id, ("", "")),
        )
        for row in rows
    ]


def _phases(connection: Connection, chosen: Select[Any]) -> dict[str, list[PhaseSeen]]:
    t = tables.boot_phase
    rows = connection.execute(select(t).where(t.c.boot.in_(chosen)))
    found: dict[str, list[PhaseSeen]] = {}
    for row in rows:
        seen = PhaseSeen(row.boot, Phase(row.phase), row.at, row.detail)
        found.setdefault(row.boot, []).append(seen)
    return found


def _with_script(seen: list[PhaseSeen], boot_id: str, minted_at: float) -> tuple[PhaseSeen, ...]:
    """Return ``seen`` in order, with the script: it has no row of its own.

    A boot is minted when its script is served.
    """
    if all(one.phase is not Phase.SCRIPT for one in seen):
        seen = [*seen, PhaseSeen(boot_id, Phase.SCRIPT, minted_at)]
    return tuple(sorted(seen, key=lambda one: (one.at, _ORDER[one.phase])))


def _last_reports(connection: Connection, chosen: Select[Any]) -> dict[str, tuple[str, str]]:
    t = tables.report
    query = (
        select(t.c.boot, t.c.generation, t.c.root)
        .where(t.c.boot.in_(chosen), t.c.phase == Phase.UP.value)
        .order_by(t.c.at, t.c.sequence)
    )
    return {row.boot: (row.generation, row.root) for row in connection.execute(query)}


def _machine(row: Row[Any]) -> DiscoveredMachine:
    machine = Discovered(
        mac=row.mac,
        arch=row.arch,
        uuid=row.uuid,
        vendor_class=row.vendor_class,
        serial=row.serial,
        manufacturer=row.manufacturer,
        product=row.product,
    )
    return DiscoveredMachine(machine, row.first_seen, row.last_seen, row.times)


def _evict_discovered(connection: Connection, keep: int) -> None:
    t = tables.discovered
    count = connection.execute(select(func.count()).select_from(t)).scalar() or 0
    if count <= keep:
        return
    oldest = select(t.c.mac).order_by(t.c.last_seen, t.c.mac).limit(count - keep)
    connection.execute(delete(t).where(t.c.mac.in_(oldest)))
