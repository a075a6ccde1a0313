"""``GET /boot/{mac}.ipxe``: the only place where a pin becomes a boot."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from aiohttp import web

from bootserve.core.discovery import UnknownPolicy
from bootserve.core.offers import WAITS
from bootserve.core.once import once_plan
from bootserve.core.resolve import Action
from bootserve.core.scripts import BootLine
from bootserve.core.snapshot import NodePlan, Snapshot
from bootserve.errors import BootserveError, NotFound, Refused
from bootserve.model.boot import Boot, Discovered
from bootserve.model.degraded import Degraded
from bootserve.model.generation import Generation
from bootserve.model.names import Mac, parse_mac
from bootserve.servers.boot.guards import Guards
from bootserve.servers.boot.recorder import Recorder
from bootserve.servers.current import Current

__all__ = ["ScriptDesk", "routes"]

NeighbourLookup = Callable[[str], Mac | None]


class ScriptDesk:
    """Answers script requests from the current snapshot.

    ``network`` is the provisioning interface's address with its prefix: a requester inside it is
    on the local segment, where its neighbour-table MAC must be the node's.
    """

    def __init__(
        self,
        current: Current,
        recorder: Recorder,
        guards: Guards,
        *,
        http_base: str,
        unknown: UnknownPolicy,
        network: IPv4Interface,
        neighbour: NeighbourLookup,
    ) -> None:
        self._current = current
        self._recorder = recorder
        self._guards = guards
        self._once = guards.once
        self._http_base = http_base
        self._unknown = unknown
        self._network = network.network
        self._neighbour = neighbour
        self._random = _random_texts()

    def script(
        self, mac: Mac, address: str, said: dict[str, str], *, mint: bool, preview: bool = False
    ) -> str:
        """Return the script for ``mac``, asked for from ``address``.

        ``said`` is what the machine told of itself in the query. Only with ``mint`` is a boot made
        and anything recorded. A ``preview``, which bears no boot's id, is for whoever asks. Raises
        NotFound for an unknown machine under policy ignore, Refused for a requester that is not
        the node.
        """
        snapshot = self._current.snapshot
        plan = snapshot.plan(mac)
        if plan is None:
            return self._stranger(mac, said, record=mint)
        if not preview:
            self._check_requester(plan, address)
        elif not self._is_node(plan, address):
            # An admin's probe may see the digests, but not what is told to the node alone.
            plan = replace(plan, kernel_args="")
        if not mint:
            scripts, line = self._current.scripts, self._line(mac)
            return self._guards.preview(scripts, snapshot, plan, line)
        self._guards.loops.reached(mac)
        plan, mark = self._guards.chosen(snapshot, plan)
        generation = plan.resolution.generation
        if plan.resolution.action is Action.BOOT and generation is not None:
            return self._boot(snapshot, plan, generation, mac, address, mark)
        if plan.resolution.action is Action.LOCAL:
            now = time.monotonic()
            if waits := self._wait(plan, mac, now):
                return waits
            self._guards.loops.served(mac, now)
        return self._current.scripts.for_node(snapshot, plan, self._line(mac))

    def waiting(self, mac: Mac, address: str) -> str:
        """Return the script that makes ``mac`` wait, which is in a loop of NBPs; empty when it is
        not. Raises Refused for a requester that is not the node."""
        plan = self._current.snapshot.plan(mac)
        waiting = self._guards.loops.loading(mac, time.monotonic())
        if plan is None or waiting is None:
            return ""
        self._check_requester(plan, address)
        line = self._line(mac)
        return self._current.scripts.waiting(plan, line, waiting.reason, waiting.seconds)

    def has_once(self, mac: Mac) -> bool:
        """Whether the script for ``mac`` may come from a one-shot action: :meth:`once`."""
        plan = self._current.snapshot.plan(mac)
        return plan is not None and self._once.concerns(plan.node.name)

    async def once(self, mac: Mac, address: str, said: dict[str, str]) -> str:
        """Return the script for ``mac``, from its one-shot action if one waits, which is then over.

        Raises what :meth:`script` raises.
        """
        snapshot = self._current.snapshot
        plan = snapshot.plan(mac)
        if plan is None:
            return self._stranger(mac, said, record=True)
        self._check_requester(plan, address)
        once, boot = self._once.repeated(plan.node.name, address) or (
            self._once.pending(plan.node.name),
            None,
        )
        if once is None:
            return self.script(mac, address, said, mint=True)
        scripts, chosen = self._current.scripts, once_plan(plan, once, snapshot.generations)
        generation = chosen.resolution.generation
        if chosen.resolution.action is Action.UNRESOLVABLE:
            return scripts.for_node(snapshot, chosen, self._line(mac))
        if boot is None and generation is not None:
            boot = self._new_boot(snapshot, plan, generation, mac, address, time.time())
        line = self._line(mac, boot)
        text = once.script or scripts.for_node(snapshot, chosen, line)

        def then() -> None:
            self._recorder.settle()
            self._guards.loops.reached(mac)
            if boot is not None and generation is not None:
                self._recorder.minted(boot, generation)

        try:
            await self._once.consume(once, mac, address, boot, then)
        except BootserveError as error:
            return scripts.held(plan, line, f"its boot-once action cannot be taken: {error}")
        return text

    def _line(self, mac: Mac, boot: Boot | None = None) -> BootLine:
        ipxe = self._recorder.ipxe(mac)
        return BootLine(boot.id if boot else "preview", mac, self._http_base, ipxe)

    def _boot(
        self,
        snapshot: Snapshot,
        plan: NodePlan,
        generation: Generation,
        mac: Mac,
        address: str,
        mark: Degraded | None,
    ) -> str:
        self._recorder.settle()
        scripts, now, at = self._current.scripts, time.monotonic(), time.time()
        retried = self._guards.minter.retried(mac, generation.digest, address, at)
        if retried is not None:
            return scripts.for_node(snapshot, plan, self._line(mac, retried))
        if waits := self._wait(plan, mac, now):
            return waits
        boot = self._new_boot(snapshot, plan, generation, mac, address, at)
        text = scripts.for_node(snapshot, plan, self._line(mac, boot))
        self._recorder.minted(boot, generation)
        self._guards.minted(boot, now)
        if mark is not None:
            self._guards.known_good.given(mark, boot)
        return text

    def _wait(self, plan: NodePlan, mac: Mac, now: float) -> str:
        """Return the script that makes ``mac`` wait, if its scripts got it nowhere."""
        waiting = self._guards.loops.script(mac, now)
        if waiting is None:
            return ""
        self._recorder.looping(plan.node.name, mac, waiting)
        line = self._line(mac)
        return self._current.scripts.waiting(plan, line, waiting.reason, waiting.seconds)

    def on_link(self, address: str) -> bool:
        """Whether ``address`` is on the local segment."""
        return IPv4Address(address) in self._network

    def quick(self, mac: Mac, address: str, on_link: bool, reply: Callable[[str], None]) -> bool:
        """Have ``reply`` called soon with the script of a new boot, as :meth:`script` mints it.

        False when the answer is anything else than a new boot: nothing was done then. ``on_link``
        is whether ``address`` is on the local segment.
        """
        snapshot = self._current.snapshot
        plan = snapshot.plan(mac)
        if plan is None or plan.resolution.action is not Action.BOOT:
            return False
        generation = plan.resolution.generation
        if generation is None or (on_link and not self._is_node(plan, address)):
            return False
        at, macs = time.time(), plan.node.macs
        mac = macs[macs.index(mac)]  # one string for every table: found by identity
        if self._guards.concern(plan, mac, generation, address, at):
            return False
        boot = self._new_boot(snapshot, plan, generation, mac, address, at)
        line = self._line(mac, boot)
        text = self._current.scripts.boot(snapshot, plan, generation, line)
        self._guards.minted(boot, time.monotonic())
        self._recorder.minted_soon(boot, generation, reply, text)
        return True

    def _new_boot(
        self,
        snapshot: Snapshot,
        plan: NodePlan,
        generation: Generation,
        mac: Mac,
        address: str,
        at: float,
    ) -> Boot:
        """Return a boot that begins ``at``, seconds since the epoch.

        Its id is the milliseconds since the epoch and 80 random bits, in 32 hex digits: as in a
        UUIDv7, ids that grow keep the database's index compact, and 80 bits cannot be guessed.
        """
        return Boot(
            id=f"{int(at * 1000):012x}{next(self._random)}",
            node=plan.node.name,
            mac=mac,
            generation=generation.ref,
            digest=generation.digest,
            revision=snapshot.revision.number,
            minted_at=at,
            address=address,
        )

    def settle(self) -> None:
        """Answer what :meth:`quick` has put off."""
        self._recorder.settle()

    def _check_requester(self, plan: NodePlan, address: str) -> None:
        if not self._is_node(plan, address):
            seen = self._neighbour(address)
            raise Refused(f"{address} has MAC {seen}, which is not node {plan.node.name}'s")

    def _is_node(self, plan: NodePlan, address: str) -> bool:
        """Whether nothing speaks against that ``address`` is the node's."""
        if IPv4Address(address) not in self._network:
            return True
        return self._neighbour(address) in (None, *plan.node.macs)

    def _stranger(self, mac: Mac, said: dict[str, str], *, record: bool) -> str:
        if self._unknown is UnknownPolicy.IGNORE:
            raise NotFound(f"no node has MAC {mac}")
        register = self._unknown is UnknownPolicy.REGISTER
        if register and record:
            fields = ("uuid", "serial", "manufacturer", "product")
            told = {name: _printable(said.get(name, "")) for name in fields}
            self._recorder.discovered(Discovered(mac=mac, **told))
        return self._current.scripts.for_stranger(mac, self._http_base, register=register)


def _random_texts() -> Iterator[str]:
    """Yield texts of 20 random hex digits; the system is asked for many at a time."""
    while True:
        text = os.urandom(10 * 100).hex()
        for place in range(0, len(text), 20):
            yield text[place : place + 20]


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:100]


def routes(desk: ScriptDesk) -> list[web.AbstractRouteDef]:
    """Return the script's routes.

    ``GET …?preview=1`` shows what GET would answer, HEAD its headers; neither mints a boot.
    ``GET …?waits=1`` has a node wait that is in a loop of NBPs, and answers like GET otherwise.
    """

    async def serve(request: web.Request) -> web.Response:
        preview = request.query.get("preview") == "1"
        mint = request.method == "GET" and not preview
        mac, address = parse_mac(request.match_info["mac"]), request.remote or ""
        said = dict(request.query)
        if WAITS in request.query and (told := desk.waiting(mac, address)):
            text = told
        elif mint and desk.has_once(mac):
            text = await desk.once(mac, address, said)
        else:
            text = desk.script(mac, address, said, mint=mint, preview=preview)
        headers = {"Cache-Control": "no-store"}
        return web.Response(text=text, content_type="text/plain", headers=headers)

    path = "/boot/{mac:[^/]*}.ipxe"  # also with no MAC: it is told that
    return [web.get(path, serve, allow_head=False), web.head(path, serve)]
