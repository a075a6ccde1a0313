"""Writes down what the boot plane sees: to the journal first, then one log line a phase."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from bootserve.core.discovery import DiscoveryFilter
from bootserve.core.ipxe import Ipxe
from bootserve.core.loops import Waiting
from bootserve.core.timeline import ActiveBoot, Timeline
from bootserve.model.boot import Boot, Discovered, Phase, PhaseSeen
from bootserve.model.drift import DriftChange
from bootserve.model.generation import Generation
from bootserve.model.names import Mac
from bootserve.store.drift import drift_record
from bootserve.store.journal import Journal
from bootserve.store.records import (
    DiscoveredRecord,
    JournalRecord,
    PhaseRecord,
    ReportRecord,
    SealRecord,
    TokenRecord,
    first_line,
)
from bootserve.wire.pxe import IpxeFeatures

__all__ = ["LogScripts", "Recorder"]

LogScripts = Callable[[Sequence[Boot]], None]
"""Logs boots whose scripts were served."""


SeenPhase = Callable[[str, str, Phase, str], None]
"""Is told, by node and boot, what was seen or said of a boot after its script."""

_SCRIPT = frozenset({Phase.SCRIPT})

_Minted = tuple[Boot, Generation, Callable[[str], None], str]
"""A boot that is not journalled yet, and the answer that waits for it."""


def _unseen(node: str, boot: str, phase: Phase, detail: str) -> None:
    """The listener to phases where there is none."""


def _nothing(text: str) -> None:
    """The answer to a boot whose asker waits by itself."""


class Recorder:
    """The one writer of the boot plane.

    ``counts`` is the number of phases recorded; ``seen`` is told of each after the script. ``log``
    is a structlog logger; ``appended`` is called after each append, so that the journal is carried
    to SQL soon. ``log_scripts`` logs boots whose scripts were served, where ``log`` is too slow for
    that; ``calm`` logs in place of ``log`` what may come in a flood: machines that are no node,
    NBPs that anybody fetches, answers to whoever asks in a node's name, and nodes that fall silent
    together.
    """

    def __init__(
        self,
        journal: Journal,
        timeline: Timeline,
        discovery: DiscoveryFilter,
        log: Any,
        calm: Any,
        appended: Callable[[], None],
        log_scripts: LogScripts | None = None,
    ) -> None:
        self._journal = journal
        self._timeline = timeline
        self._discovery = discovery
        self._log = log
        self._appended = appended
        self._log_scripts = log_scripts or self._log_each
        self._calm = calm
        self.counts: Counter[Phase] = Counter()
        self.seen: SeenPhase = _unseen
        self._minted: list[_Minted] = []

    def minted(self, boot: Boot, generation: Generation) -> None:
        """Record a new boot and the phases that led to it; on return it survives SIGKILL."""
        self.minted_soon(boot, generation, _nothing, "")
        self.settle()

    def minted_soon(
        self, boot: Boot, generation: Generation, reply: Callable[[str], None], text: str
    ) -> None:
        """Have ``reply`` called with ``text`` once the new boot survives SIGKILL.

        That is when the event loop has been through what it has at hand: the boots that were asked
        for at the same moment are journalled by one write.
        """
        if not self._minted:
            asyncio.get_running_loop().call_soon(self.settle)
        self._minted.append((boot, generation, reply, text))

    def settle(self) -> None:
        """Journal the boots that wait for it, and answer them."""
        if not self._minted:
            return
        minted, self._minted = self._minted, []
        records: list[JournalRecord | Boot] = []
        for boot, generation, _, _ in minted:
            records.append(boot)
            active = active_boot(boot, generation)
            active.phases = _SCRIPT
            for seen in self._timeline.begin(active):
                records.append(PhaseRecord(seen.boot_id, seen.phase, seen.at, seen.detail))
        self._journal.append_all(records)
        for _, _, reply, text in minted:
            reply(text)
        self.counts[Phase.SCRIPT] += len(minted)
        self._appended()
        self._log_scripts([one[0] for one in minted])

    def _log_each(self, boots: Sequence[Boot]) -> None:
        for boot in boots:
            self._log.info(
                "script",
                node=boot.node,
                generation=str(boot.generation),
                revision=boot.revision,
                boot=boot.id,
                mac=boot.mac,
                address=boot.address,
            )

    def looping(self, node: str, mac: Mac, waiting: Waiting) -> None:
        """Log that a node is made to wait, once for each wait."""
        if waiting.new:
            self._log.warning(
                "loop", node=node, mac=mac, detail=waiting.reason, seconds=waiting.seconds
            )

    def ipxe_runs(self, mac: Mac, features: IpxeFeatures | None) -> None:
        """Take note of what the iPXE that now runs on a node's ``mac`` said that it can do."""
        self._timeline.told(mac, features)

    def log_answer(self, detail: str, node: str, mac: Mac) -> None:
        """Log an answer to a node, or to whoever asks in its name."""
        self._calm.info(Phase.DHCP.value, kind=node, detail=detail, node=node, mac=mac)

    def counted(self, answers: int, repeated: int, unlogged: int) -> None:
        """Count answers to nodes, and say how many were repeats or not logged each."""
        self.counts[Phase.DHCP] += answers
        if repeated or unlogged:
            self._calm.info("dhcp", kind="counts", repeated=repeated, unlogged=unlogged)

    def loaded(self, phase: Phase, address: str, detail: str) -> None:
        """Record that ``address`` has fetched an NBP, which any stranger may do."""
        self._timeline.loaded(phase, address, time.time(), detail)
        self.counts[phase] += 1
        self._calm.info(phase.value, detail=detail, address=address)

    def ipxe(self, mac: Mac) -> Ipxe:
        """Return what the iPXE that last ran on ``mac`` said that it can do."""
        return self._timeline.ipxe(mac)

    def fetched(self, address: str, digest: str, seconds: float) -> None:
        """Record that ``address`` has fetched the whole artifact ``digest``."""
        now = time.time()
        seen = self._timeline.fetched(address, digest, now - seconds, now)
        if seen is None:
            return
        active = self._timeline.get(seen.boot_id)
        node = active.boot.node if active else ""
        self._phase(PhaseSeen(seen.boot_id, seen.phase, seen.at, f"in {seconds:.2f} s"), node)

    def _phase(self, seen: PhaseSeen, node: str) -> None:
        self.counts[seen.phase] += 1
        self.seen(node, seen.boot_id, seen.phase, seen.detail)
        self._journal.append(PhaseRecord(seen.boot_id, seen.phase, seen.at, seen.detail))
        self._appended()
        self._log.info(seen.phase.value, node=node, boot=seen.boot_id, detail=seen.detail)

    def bound(self, active: ActiveBoot, token_hash: str) -> None:
        """Record that a boot id was traded for the token with this sha256."""
        active.token_hash = token_hash
        self._journal.append(TokenRecord(active.boot.id, token_hash, time.time()))

    def reported(self, active: ActiveBoot, report: ReportRecord) -> None:
        """Record what a node said of itself; a root that is not its boot's is a warning.

        A phase that is known of the boot already is neither counted nor logged again: the server
        saw the root fetched before the node says so, and a report whose answer was lost is sent
        twice.
        """
        phase = Phase(report.phase)
        wrong = report.root not in ("", active.root)
        alarming = wrong or phase is Phase.FAILED
        news = alarming or phase not in active.phases
        active.reports += 1
        active.phases |= {phase}
        self._journal.append(report)
        self._appended()
        detail = first_line(report.detail)
        self.seen(active.boot.node, active.boot.id, phase, detail)
        if not news:
            return
        self.counts[phase] += 1
        say = self._log.warning if alarming else self._log.info
        say(
            report.phase,
            node=active.boot.node,
            boot=active.boot.id,
            generation=report.generation,
            uptime=report.uptime,
            **({"root": report.root, "expected_root": active.root} if wrong else {}),
            **({"detail": detail} if detail else {}),
        )

    def sealed(self, node: str, boot: str, baseline: str, at: float) -> None:
        """Record the digest of the snapshot that a node took at up."""
        self._journal.append(SealRecord(boot, node, at, baseline))
        self._appended()

    def drifted(self, change: DriftChange) -> None:
        """Record that a node's drift changed."""
        self._journal.append(drift_record(change))
        self._appended()
        say = self._log.warning if change.state == "altered" else self._log.info
        first = [f"{one.kind} {one.path}" for one in change.entries[:3]]
        detail = {"count": change.count, "detail": ", ".join(first)} if first else {}
        say(change.state, node=change.node, boot=change.boot, **detail)

    def spoken(self, changes: Sequence[DriftChange]) -> None:
        """Record which nodes fell silent or were heard again, by one write."""
        self._journal.append_all([drift_record(one) for one in changes])
        self._appended()
        for one in changes:
            say = self._calm.warning if one.state == "silent" else self._calm.info
            say(one.state, node=one.node, boot=one.boot)

    def discovered(self, machine: Discovered) -> None:
        """Record a machine that is no node, unless that was done within the minute."""
        passed = self._discovery.passes(machine, time.monotonic())
        if passed is None:
            return
        self._journal.append(
            DiscoveredRecord(
                mac=passed.mac,
                at=time.time(),
                arch=passed.arch,
                uuid=passed.uuid,
                vendor_class=passed.vendor_class,
                serial=passed.serial,
                manufacturer=passed.manufacturer,
                product=passed.product,
            )
        )
        self._appended()
        self._calm.info("discovered", mac=passed.mac, uuid=passed.uuid, serial=passed.serial)


def active_boot(boot: Boot, generation: Generation) -> ActiveBoot:
    """Return ``boot`` as one under way, which may fetch the artifacts of ``generation``."""
    artifacts = generation.manifest.artifacts
    kernel, initrd, root = (artifacts[name].sha256 for name in ("kernel", "initrd", "root"))
    return ActiveBoot(boot, root, _phases_of(kernel, initrd, root))


@lru_cache(maxsize=1000)
def _phases_of(kernel: str, initrd: str, root: str) -> Mapping[str, Phase]:
    """Return what fetching each artifact is; all boots of a generation share it."""
    return {kernel: Phase.KERNEL, initrd: Phase.INITRD, root: Phase.ROOT}
