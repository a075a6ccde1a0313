"""Writes down what the boot plane sees: to the journal first, then one log line a phase."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from bootserve.core.discovery import DiscoveryFilter
from bootserve.core.timeline import ActiveBoot, Timeline
from bootserve.model.boot import Boot, Discovered, Phase, PhaseSeen
from bootserve.model.generation import Generation
from bootserve.store.journal import Journal
from bootserve.store.records import (
    BootRecord,
    DiscoveredRecord,
    PhaseRecord,
    ReportRecord,
    TokenRecord,
    first_line,
)

__all__ = ["Recorder"]


class Recorder:
    """The one writer of the boot plane.

    ``counts`` is the number of phases recorded. ``log`` is a structlog logger; ``appended`` is
    called after each append, so that the journal is carried to SQL soon.
    """

    def __init__(
        self,
        journal: Journal,
        timeline: Timeline,
        discovery: DiscoveryFilter,
        log: Any,
        appended: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._timeline = timeline
        self._discovery = discovery
        self._log = log
        self._appended = appended
        self.counts: Counter[Phase] = Counter()

    def minted(self, boot: Boot, generation: Generation) -> None:
        """Record a new boot and the phases that led to it; on return it survives SIGKILL."""
        self._journal.append(BootRecord.of(boot))
        active = active_boot(boot, generation)
        active.phases.add(Phase.SCRIPT)
        early = self._timeline.begin(active)
        for seen in early:
            self._journal.append(PhaseRecord(seen.boot_id, seen.phase, seen.at, seen.detail))
        self._journal.append(PhaseRecord(boot.id, Phase.SCRIPT, boot.minted_at))
        self.counts[Phase.SCRIPT] += 1
        self._appended()
        self._log.info(
            "script",
            node=boot.node,
            generation=str(boot.generation),
            revision=boot.revision,
            boot=boot.id,
            mac=boot.mac,
            address=boot.address,
        )

    def early(self, phase: Phase, key: str, detail: str, **fields: Any) -> None:
        """Note a phase that has no boot yet; ``fields`` go to its log line."""
        self._timeline.early(phase, key, time.time(), detail)
        self.counts[phase] += 1
        self._log.info(phase.value, detail=detail, **fields)

    def fetched(self, address: str, digest: str, seconds: float) -> None:
        """Record that ``address`` has fetched the whole artifact ``digest``."""
        seen = self._timeline.fetched(address, digest, time.time())
        if seen is None:
            return
        active = self._timeline.get(seen.boot_id)
        node = active.boot.node if active else ""
        self._phase(PhaseSeen(seen.boot_id, seen.phase, seen.at, f"in {seconds:.2f} s"), node)

    def _phase(self, seen: PhaseSeen, node: str) -> None:
        self.counts[seen.phase] += 1
        self._journal.append(PhaseRecord(seen.boot_id, seen.phase, seen.at, seen.detail))
        self._appended()
        self._log.info(seen.phase.value, node=node, boot=seen.boot_id, detail=seen.detail)

    def bound(self, active: ActiveBoot, token_hash: str) -> None:
        """Record that a boot id was traded for the token with this sha256."""
        active.token_hash = token_hash
        self._journal.append(TokenRecord(active.boot.id, token_hash, time.time()))

    def reported(self, active: ActiveBoot, report: ReportRecord) -> None:
        """Record what a node said of itself; a root that is not its boot's is a warning."""
        active.reports += 1
        active.phases.add(Phase(report.phase))
        self.counts[Phase(report.phase)] += 1
        self._journal.append(report)
        self._appended()
        wrong = report.root not in ("", active.root)
        say = self._log.warning if wrong or report.phase == Phase.FAILED else self._log.info
        detail = first_line(report.detail)
        say(
            report.phase,
            node=active.boot.node,
            boot=active.boot.id,
            generation=report.generation,
            uptime=report.uptime,
            **({"root": report.root, "expected_root": active.root} if wrong else {}),
            **({"detail": detail} if detail else {}),
        )

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
        self._log.info("discovered", mac=passed.mac, uuid=passed.uuid, serial=passed.serial)


def active_boot(boot: Boot, generation: Generation) -> ActiveBoot:
    """Return ``boot`` as one under way, which may fetch the artifacts of ``generation``."""
    artifacts = generation.manifest.artifacts
    phases = (("kernel", Phase.KERNEL), ("initrd", Phase.INITRD), ("root", Phase.ROOT))
    return ActiveBoot(
        boot,
        root=artifacts["root"].sha256,
        artifacts={artifacts[name].sha256: phase for name, phase in phases},
    )
