"""Commits changes to the desired state and puts the new snapshot in force."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from bootserve.core.snapshot import Snapshot, build_snapshot, changed_nodes
from bootserve.core.transactions import Change, check_commit, warnings_of
from bootserve.errors import PreconditionFailed, Unavailable
from bootserve.model.desired import Revision
from bootserve.model.generation import Generation, GenerationRef, Manifest
from bootserve.model.nbp import Nbp
from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.store.desired import AlsoWrite, DesiredStore
from bootserve.store.generations import GenerationStore
from bootserve.store.nbps import NbpStore

__all__ = ["Also", "Committed", "Committer"]

SHOWN_REVISIONS = 20


@dataclass(frozen=True, slots=True)
class Committed:
    """The revision that a change became, the snapshot now in force, and warnings.

    ``nodes_changed`` is how many nodes boot something else than before.
    """

    revision: Revision
    after: Snapshot
    nodes_changed: int
    warnings: list[str]


Also = Callable[[Committed], AlsoWrite | None]
"""Returns what to write besides in the transaction of the commit that it is given."""


def _prepare(change: Change, before: Snapshot, draft: Revision) -> Committed:
    """Return what ``change`` leads to; raises what the change or its check raises.

    A large site takes its time, so it is done beside the event loop.
    """
    state = change(before.state)
    after = build_snapshot(draft, state, before.generations, before.site_id, before.nbps, before)
    check_commit(before, after)
    return Committed(draft, after, changed_nodes(before, after), warnings_of(before.state, state))


class Committer:
    """Takes one change at a time: apply, check, store, publish.

    ``published`` is called with each snapshot put in force.
    """

    def __init__(
        self,
        current: Current,
        desired: DesiredStore,
        generations: GenerationStore,
        nbps: NbpStore,
        database: DatabaseThread,
        published: Callable[[Snapshot], None],
    ) -> None:
        self._current = current
        self._desired = desired
        self._generations = generations
        self._nbps = nbps
        self._database = database
        self._published = published
        self._lock = asyncio.Lock()

    async def check_base(self, base: int | None) -> None:
        """Raise PreconditionFailed, with what changed since, unless ``base`` is current or None."""
        number = self._current.snapshot.revision.number
        if base is None or base == number:
            return
        error = PreconditionFailed(
            f"the current revision is {number}, not {base}",
            hint="Look at what changed with 'bootserve revisions' and try again.",
        )
        found = await self._database.run(self._desired.revisions, SHOWN_REVISIONS)
        error.members["revision"] = number
        error.members["changes"] = [asdict(one) for one in found if one.number > base]
        raise error

    async def commit(
        self,
        change: Change,
        *,
        author: str,
        message: str,
        base: int | None = None,
        also: Also | None = None,
    ) -> Committed:
        """Commit ``change`` as a new revision.

        ``base`` is the revision it was thought up against; PreconditionFailed, with what changed
        since, when that is not the current one. ``also`` writes more in the same transaction.
        Raises what the change, its check or the store raises; nothing has changed then.
        """
        async with self._lock:
            before = self._current.snapshot
            number = before.revision.number
            await self.check_base(base)
            draft = Revision(number + 1, time.time(), author, message)
            made = await asyncio.to_thread(_prepare, change, before, draft)
            revision = await self._database.run(
                self._desired.commit,
                number,
                made.after.state,
                old=before.state,
                author=author,
                message=message,
                at=draft.at,
                also=also(made) if also is not None else None,
            )
            self._publish(made.after)
            return replace(made, revision=revision)

    async def reload(self) -> None:
        """Put in force what the database holds, as after it was away; raises Unavailable."""
        async with self._lock:
            revision, state = await self._database.run(self._desired.load)
            now = self._current.snapshot
            if revision.number < now.revision.number:
                raise Unavailable(
                    f"the database is back at revision {revision.number}, and revision"
                    f" {now.revision.number} is in force"
                )
            self._current.snapshot = await asyncio.to_thread(
                build_snapshot, revision, state, now.generations, now.site_id, now.nbps, now
            )
            await self._reload()

    async def register(self, manifest: Manifest, by: str) -> tuple[Generation, bool]:
        """Make ``manifest`` a generation, or find the one it is already; True for a new one."""
        async with self._lock:
            result = await self._database.run(
                self._generations.register, manifest, at=time.time(), by=by
            )
            await self._reload()
            return result

    async def remove(self, ref: GenerationRef, by: str) -> Sequence[str]:
        """Mark a generation as removed and return the digests that nothing needs any more.

        Raises NotFound, and Conflict when it is in use. No pin can be set on it meanwhile.
        """
        async with self._lock:
            unneeded = await self._database.run(
                self._generations.remove, ref, at=time.time(), by=by
            )
            await self._reload()
            return unneeded

    async def revoke(self, ref: GenerationRef, by: str, reason: str) -> None:
        """Have no node given a generation any more.

        Raises NotFound, and Conflict when it is in use. No pin can be set on it meanwhile.
        """
        await self._mark(self._generations.revoke, ref, by, reason)

    async def unrevoke(self, ref: GenerationRef, by: str, reason: str) -> None:
        """Let nodes be given a revoked generation again; raises NotFound and Conflict."""
        await self._mark(self._generations.unrevoke, ref, by, reason)

    async def _mark(
        self, mark: Callable[..., None], ref: GenerationRef, by: str, reason: str
    ) -> None:
        async with self._lock:
            await self._database.run(mark, ref, at=time.time(), by=by, reason=reason)
            await self._reload()

    async def add_nbp(self, nbp: Nbp) -> bool:
        """Add ``nbp``; False when it is there already. Raises Conflict."""
        async with self._lock:
            added = await self._database.run(self._nbps.add, nbp)
            await self._reload()
            return added

    async def remove_nbp(self, name: str, by: str) -> Sequence[str]:
        """Mark an NBP as removed and return the digests that nothing needs any more.

        Raises NotFound, and Conflict when it is pinned. It cannot be pinned meanwhile.
        """
        async with self._lock:
            unneeded = await self._database.run(self._nbps.remove, name, at=time.time(), by=by)
            await self._reload()
            return unneeded

    async def _reload(self) -> None:
        found = await self._database.run(self._generations.list, include_removed=True)
        generations = {generation.ref: generation for generation in found}
        nbps = {nbp.name: nbp for nbp in await self._database.run(self._nbps.list)}
        now = self._current.snapshot
        self._publish(
            await asyncio.to_thread(
                build_snapshot, now.revision, now.state, generations, now.site_id, nbps, now
            )
        )

    def _publish(self, snapshot: Snapshot) -> None:
        self._current.snapshot = snapshot
        self._published(snapshot)
