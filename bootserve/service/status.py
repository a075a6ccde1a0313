"""What the server says of itself: status, readiness, metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bootserve import __version__
from bootserve.model.degraded import Degraded
from bootserve.servers.admin.live import degraded_text
from bootserve.servers.admin.plane import revision_out
from bootserve.servers.admin.schemas_seen import SegmentOut, StatusOut
from bootserve.service.wiring import Parts

__all__ = ["Reporter"]

SHOWN_DAMAGED = 5


class Reporter(Collector):
    """Collects the status, and the metrics in Prometheus' form."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started_at = time.time()

    def registry(self) -> CollectorRegistry:
        """Return a registry of this collector alone."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def _problems(self) -> list[str]:
        parts = self._parts
        snapshot = parts.current.snapshot
        problems = parts.audit.problems()
        if parts.filler.away:
            problems.append("the database is away; boots are kept in the journal")
        if bad := parts.kept.artifacts.quarantined():
            found = _counted(len(bad), "artifact is", "artifacts are")
            whose = "its generation" if len(bad) == 1 else "their generations"
            problems.append(f"{found} in quarantine: import {whose} again")
        damaged = [one for one in snapshot.damaged() if one.removed_at is None]
        if damaged:
            several = _counted(len(damaged), "generation has", "generations have")
            problems.append(
                f"{several} a damaged manifest, and no node is given what is damaged: import again,"
                f" or remove, {', '.join(str(one.ref) for one in damaged[:SHOWN_DAMAGED])}"
            )
        stuck = sum(1 for _ in snapshot.unresolvable())
        if stuck:
            problems.append(
                f"{_counted(stuck, 'node has', 'nodes have')} a pin that cannot be followed"
            )
        return problems

    def _degraded(self) -> dict[str, Degraded]:
        return self._parts.guards.known_good.known_good.degraded

    async def status(self) -> StatusOut:
        """Return the server's state; asks the database how boots went in the last hour."""
        parts = self._parts
        journal, snapshot = parts.kept.journal, parts.current.snapshot
        problems = self._problems()
        recent = up = discovered = 0
        if not parts.filler.away and not parts.kept.watch.problem:
            await parts.filler.flush()
            since = time.time() - 3600
            recent, up = await parts.sql.run(parts.kept.boots.count_since, since)
            discovered = await parts.sql.run(parts.kept.boots.count_discovered)
        return StatusOut(
            version=__version__,
            segments=[
                SegmentOut(
                    interface=one.interface, address=str(one.network.ip), http_base=one.http_base
                )
                for one in parts.segments
            ],
            started_at=self._started_at,
            ready=not problems,
            problems=problems,
            revision=revision_out(snapshot.revision),
            nodes=len(snapshot.plans),
            pins=len(snapshot.state.pins),
            generations=sum(1 for g in snapshot.generations.values() if g.removed_at is None),
            discovered=discovered,
            unknown=parts.settings.unknown.value,
            journal_sequence=journal.sequence,
            journal_applied=parts.filler.applied,
            journal_lost=journal.lost,
            journal_full=journal.full,
            quarantined=list(parts.kept.artifacts.quarantined()),
            up=up,
            boots_last_hour=recent,
            degraded=[
                f"{name}: {degraded_text(mark)}" for name, mark in sorted(self._degraded().items())
            ],
        )

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called by the registry at each scrape."""
        parts = self._parts
        journal, snapshot = parts.kept.journal, parts.current.snapshot
        artifacts = parts.kept.artifacts
        gauges = {
            "revision": ("Current revision", snapshot.revision.number),
            "nodes": ("Nodes", len(snapshot.plans)),
            "pins": ("Pins", len(snapshot.state.pins)),
            "unresolvable_nodes": ("Stuck nodes", sum(1 for _ in snapshot.unresolvable())),
            "degraded_nodes": ("On their last known good generation", len(self._degraded())),
            "journal_bytes": ("Size of the journal", journal.size),
            "journal_behind": ("Records not in SQL yet", journal.sequence - parts.filler.applied),
            "audit_alarm": (
                "Whether the audit log has a problem",
                int(bool(parts.audit.problems())),
            ),
            "quarantined_artifacts": ("Bad artifacts", len(artifacts.quarantined())),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"bootserve_{name}", text, value=value)
        lost = CounterMetricFamily("bootserve_journal_lost", "Records that could not be written")
        lost.add_metric([], journal.lost)
        yield lost
        unrecorded = CounterMetricFamily(
            "bootserve_audit_failures", "Writes to the database that failed, and were refused"
        )
        unrecorded.add_metric([], parts.audit.failed)
        yield unrecorded
        phases = CounterMetricFamily(
            "bootserve_phases", "Boot phases recorded since start", labels=["phase"]
        )
        for phase, count in parts.recorder.counts.items():
            phases.add_metric([phase.value], count)
        yield phases
        events = CounterMetricFamily(
            "bootserve_events",
            "What the boot plane saw since start, logged or not",
            labels=["event"],
        )
        http = {
            f"http {kind}": parts.calm.counts[kind]
            for kind in ("refused", "stalled", "malformed", "went away")
        }
        internal = {"internal": parts.calm.counts["internal"]}
        for event, count in {**parts.sightings.counts, **http, **internal}.items():
            events.add_metric([event], count)
        yield events


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
