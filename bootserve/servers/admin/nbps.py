"""NBPs: list, add, remove, pin."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

from bootserve.core.nbps import nbps_of, pin_nbp, unpin_nbp
from bootserve.core.snapshot import NodePlan
from bootserve.errors import Conflict, InvalidInput
from bootserve.model.desired import NbpPinKey, Scope
from bootserve.model.nbp import MAX_NBP, Nbp, NbpArch, check_nbp_name, check_program
from bootserve.servers.admin.commits import commit
from bootserve.servers.admin.needs import OPERATOR, VIEWER, anywhere, pinned, site
from bootserve.servers.admin.paging import page
from bootserve.servers.admin.plane import AdminPlane
from bootserve.servers.admin.routing import Call, NoQuery, Request, Route
from bootserve.servers.admin.schemas import CommitOut
from bootserve.servers.admin.schemas_nbp import (
    NbpAdded,
    NbpBody,
    NbpChoiceOut,
    NbpList,
    NbpOut,
    NbpPinBody,
    NbpPinOut,
    NbpQuery,
    NbpUnpinQuery,
)

__all__ = ["choices_out", "routes"]

HEAD = 1024


def choices_out(plane: AdminPlane, plan: NodePlan) -> list[NbpChoiceOut]:
    """Return the NBPs that are pinned for a node as the API shows them."""
    snapshot = plane.current.snapshot
    return [
        NbpChoiceOut(
            arch=one.pin.arch,
            nbp=one.pin.nbp,
            scope=str(one.pin.scope),
            problem=one.problem or _missing(plane, one.nbp),
        )
        for one in nbps_of(snapshot.state, plan.node, snapshot.nbps)
    ]


def _missing(plane: AdminPlane, nbp: Nbp | None) -> str:
    if nbp is None or plane.artifacts.has(nbp.digest):
        return ""
    return "it is not in the store: add its file again"


def _checked_size(path: Path, arch: NbpArch) -> int:
    """Return the size of an NBP's file; raises InvalidInput when it is no program for ``arch``."""
    size = path.stat().st_size
    if not 0 < size <= MAX_NBP:
        raise InvalidInput(f"an NBP has 1 to {MAX_NBP} bytes, and this file {size}")
    with path.open("rb") as file:
        check_program(file.read(HEAD), arch)
    return size


def _listed(nbp: Nbp, query: NbpQuery) -> bool:
    return query.removed or nbp.removed_at is None


class _Nbps:
    def __init__(self, plane: AdminPlane) -> None:
        self._plane = plane

    def _out(self, nbp: Nbp) -> NbpOut:
        return NbpOut(
            name=nbp.name,
            arch=nbp.arch,
            digest=nbp.digest,
            size=nbp.size,
            file=nbp.path,
            added_at=nbp.added_at,
            added_by=nbp.added_by,
            removed_at=nbp.removed_at,
            stored=self._plane.artifacts.has(nbp.digest),
        )

    async def list_all(self, call: Call[Request, NbpQuery]) -> NbpList:
        snapshot, query = self._plane.current.snapshot, call.query
        state = snapshot.state
        items: list[tuple[str, ...]] = [
            ("nbp", one.name) for one in snapshot.nbps.values() if _listed(one, query)
        ]
        seen = [key for key in state.nbp_pins if call.sees_pin(state, key.scope)]
        of_key: dict[tuple[str, ...], NbpPinKey] = {
            ("pin", str(key.scope), str(key.arch)): key for key in seen
        }
        found, more = page([*items, *of_key], lambda one: one, query)
        decided: Counter[NbpPinKey] = Counter()
        if state.nbp_pins:
            for plan in snapshot.plans.values():
                decided.update(one.pin.key for one in nbps_of(state, plan.node, snapshot.nbps))
        return NbpList(
            revision=snapshot.revision.number,
            next=more,
            nbps=[self._out(snapshot.nbps[one[1]]) for one in found if one[0] == "nbp"],
            pins=[
                NbpPinOut(
                    scope=str(key.scope),
                    arch=key.arch,
                    nbp=state.nbp_pins[key].nbp,
                    nodes=decided[key],
                )
                for key in (of_key[one] for one in found if one[0] == "pin")
            ],
        )

    async def add(self, call: Call[NbpBody, NoQuery]) -> NbpAdded:
        body, plane = call.body, self._plane
        name = check_nbp_name(body.name, body.arch)
        async with plane.collector.undoing(), plane.collector.lock:
            path = await asyncio.to_thread(plane.artifacts.path, body.digest)
            if path is None:
                raise Conflict(f"the file {body.digest} has not been uploaded")
            size = await asyncio.to_thread(_checked_size, path, body.arch)
            nbp = Nbp(name, body.arch, body.digest, size, time.time(), call.subject)
            created = await plane.committer.add_nbp(nbp)
        return NbpAdded(nbp=self._out(plane.current.snapshot.nbps[name]), created=created)

    async def remove(self, call: Call[Request, NoQuery]) -> NbpOut:
        plane, name = self._plane, call.path["name"]
        async with plane.collector.lock:
            await plane.collector.delete(await plane.committer.remove_nbp(name, call.subject))
        return self._out(plane.current.snapshot.nbps[name])

    async def pin(self, call: Call[NbpPinBody, NoQuery]) -> CommitOut:
        body = call.body
        scope = Scope.parse(body.scope)
        return await commit(
            self._plane,
            call,
            pin_nbp(scope, body.nbp, self._plane.current.snapshot.nbps),
            body.message or f"pin {scope} NBP {body.nbp}",
        )

    async def unpin(self, call: Call[Request, NbpUnpinQuery]) -> CommitOut:
        query = call.query
        scope = Scope.parse(query.scope)
        return await commit(
            self._plane, call, unpin_nbp(scope, query.arch), query.message or f"unpin {scope} NBP"
        )


def routes(plane: AdminPlane) -> list[Route]:
    """Return the routes of NBPs and their pins."""
    nbps = _Nbps(plane)
    return [
        Route(
            "GET",
            "/nbps",
            "List NBPs and their pins",
            nbps.list_all,
            NbpList,
            query=NbpQuery,
            needs=anywhere(VIEWER),
        ),
        Route("POST", "/nbps", "Add an NBP", nbps.add, NbpAdded, NbpBody, needs=site(OPERATOR)),
        Route("DELETE", "/nbps/{name}", "Remove an NBP", nbps.remove, NbpOut, needs=site(OPERATOR)),
        Route(
            "PUT",
            "/nbp-pins",
            "Pin an NBP",
            nbps.pin,
            CommitOut,
            NbpPinBody,
            needs=pinned(OPERATOR, lambda call: call.body.scope),
        ),
        Route(
            "DELETE",
            "/nbp-pins",
            "Remove a pin of an NBP",
            nbps.unpin,
            CommitOut,
            query=NbpUnpinQuery,
            needs=pinned(OPERATOR, lambda call: call.query.scope),
        ),
    ]
