"""With which boot nodes last reported up: what rollouts know of them after a restart."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, func, select

from bootserve.model.boot import Phase
from bootserve.model.generation import GenerationRef
from bootserve.model.rollout import Sighting
from bootserve.store import tables
from bootserve.store.database import Database

__all__ = ["last_ups"]

CHUNK = 500


def last_ups(database: Database, nodes: Sequence[str]) -> dict[str, Sighting]:
    """Return what each of ``nodes`` that ever reported up said when it last did; blocks.

    Raises Unavailable when the database is away.
    """
    found: dict[str, Sighting] = {}
    for place in range(0, len(nodes), CHUNK):
        found.update(_last_ups(database, nodes[place : place + CHUNK]))
    return found


def _last_ups(database: Database, nodes: Sequence[str]) -> dict[str, Sighting]:
    boot, report = tables.boot, tables.report
    up = and_(report.c.boot == boot.c.id, report.c.phase == Phase.UP.value)
    order = (boot.c.minted_at.desc(), boot.c.id.desc(), report.c.at)
    place = func.row_number().over(partition_by=boot.c.node, order_by=order).label("place")
    ranked = (
        select(boot, report.c.at, report.c.root, place)
        .join(report, up)
        .where(boot.c.node.in_(nodes))
        .subquery()
    )
    with database.read() as connection:
        rows = connection.execute(select(ranked).where(ranked.c.place == 1)).all()
    return {
        row.node: Sighting(
            boot=row.id,
            minted_at=row.minted_at,
            generation=GenerationRef(row.image, row.number),
            up_at=row.at,
            root=row.root,
        )
        for row in rows
    }
