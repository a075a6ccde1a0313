"""Builds every part of the server from the settings and joins them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bootserve.core.diffs import DiffBook
from bootserve.core.discovery import DiscoveryFilter, UnknownPolicy
from bootserve.core.exchanges import Exchanges
from bootserve.core.heartbeats import HeartbeatBook, Wishes
from bootserve.core.loops import LoopGuard, LoopLimits
from bootserve.core.minting import Minter
from bootserve.core.shapes import ShapeBook
from bootserve.core.snapshot import Snapshot, build_snapshot
from bootserve.core.timeline import Timeline
from bootserve.errors import StorageFull, Unavailable
from bootserve.servers.admin.accessbook import AccessBook
from bootserve.servers.boot.guards import Guards
from bootserve.servers.boot.once import OnceDesk
from bootserve.servers.boot.recorder import LogScripts, Recorder
from bootserve.servers.boot.sending import Sender
from bootserve.servers.committer import Committer
from bootserve.servers.current import Current
from bootserve.servers.dbthread import DatabaseThread
from bootserve.servers.reboots.agents import AgentRequests
from bootserve.servers.reboots.parts import Reboots
from bootserve.servers.rollouts.desk import RolloutDesk
from bootserve.servers.rollouts.words import NodeWords
from bootserve.service.audit_keeper import AuditKeeper
from bootserve.service.audit_wiring import make_keeper
from bootserve.service.calm import Calm
from bootserve.service.files import load_quirks, load_scripts, nbp_files
from bootserve.service.filler import Filler
from bootserve.service.heartbeats import HeartbeatKeeper
from bootserve.service.known_good import make_known_good
from bootserve.service.nbpcache import NbpCache
from bootserve.service.nbpshelf import NbpShelf
from bootserve.service.ports import Ports
from bootserve.service.publishing import Publisher
from bootserve.service.reboots import make_reboots
from bootserve.service.saver import Saver, check_not_older, saved_snapshot
from bootserve.service.segments import Segment, make_segments
from bootserve.service.shapes import ShapeKeeper
from bootserve.service.sightings import Sightings
from bootserve.settings import Settings
from bootserve.store.access import AccessStore
from bootserve.store.artifacts import DirectoryStore
from bootserve.store.boots import BootStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.desired import DesiredStore
from bootserve.store.drift import DriftStore
from bootserve.store.generations import GenerationStore
from bootserve.store.journal import Journal
from bootserve.store.nbps import NbpStore
from bootserve.store.once import OnceStore
from bootserve.store.once_files import OnceFiles
from bootserve.store.reboots import RebootStore
from bootserve.store.write_watch import WriteWatch

__all__ = ["Kept", "Parts", "open_kept", "wire"]

SNAPSHOT_FILE = "snapshot.json"
SHAPES_FILE = "shapes.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """What lies in the state directory, opened."""

    database: Database
    desired: DesiredStore
    generations: GenerationStore
    nbps: NbpStore
    boots: BootStore
    artifacts: DirectoryStore
    journal: Journal
    once: OnceFiles
    once_history: OnceStore
    reboots: RebootStore
    watch: WriteWatch

    def close(self) -> None:
        """Close the files; nothing may use them afterwards."""
        self.journal.close()
        self.database.close()


def open_kept(settings: Settings) -> Kept:
    """Open or create the state; blocks. Raises what the stores raise; the database may be away."""
    directory = settings.state_dir
    journal = Journal(
        directory / "journal", max_bytes=settings.journal_max_mib << 20, clock=time.time
    )
    watch = WriteWatch(journal, time.time)
    database = Database(sqlite_url(directory / "bootserve.db"), journal.id, watch)
    return Kept(
        database=database,
        desired=DesiredStore(database),
        generations=GenerationStore(database),
        nbps=NbpStore(database),
        boots=BootStore(database, journal.id, max_discovered=settings.discovered_max),
        artifacts=DirectoryStore(directory / "artifacts"),
        journal=journal,
        once=OnceFiles(directory / "boot-once"),
        once_history=OnceStore(database),
        reboots=RebootStore(database),
        watch=watch,
    )


@dataclass(slots=True)
class Parts:
    """The parts of a running server; ``segments`` holds one for each interface, at least one."""

    settings: Settings
    segments: tuple[Segment, ...]
    kept: Kept
    sql: DatabaseThread
    current: Current
    timeline: Timeline
    recorder: Recorder
    filler: Filler
    committer: Committer
    saver: Saver
    guards: Guards
    nbps: Mapping[str, Path]
    shelf: NbpShelf
    shapes: ShapeKeeper
    calm: Calm
    sightings: Sightings
    heartbeats: HeartbeatKeeper
    reboots: Wishes
    rebooting: Reboots
    access: AccessBook
    words: NodeWords
    audit: AuditKeeper
    sender: Sender
    rollouts: RolloutDesk = field(init=False)


def wire(
    settings: Settings, ports: Ports, kept: Kept, log: Any, log_scripts: LogScripts | None = None
) -> Parts:
    """Return the parts, joined and not yet started; blocks while state is loaded."""
    nbps = nbp_files(settings)
    saved = settings.state_dir / SNAPSHOT_FILE
    snapshot, away = _first_snapshot(kept, saved, log)
    current = Current(snapshot, load_scripts(settings.templates_dir))
    saver, sql = Saver(saved, log), DatabaseThread()
    timeline = Timeline(exchanges := Exchanges())
    filler = Filler(kept.journal, kept.boots, sql, log, away=away)
    found, calm = DiscoveryFilter(settings.discovered_max), Calm(log)
    recorder = Recorder(kept.journal, timeline, found, log, calm, filler.wake, log_scripts)
    shapes = _shapes(settings, nbps, current, kept, log, filler)
    heartbeats = _heartbeats(settings, kept, sql, current, recorder, log)
    words = NodeWords(heartbeats.book, lambda: current.snapshot.generations)
    guards = _guards(settings, kept, log, filler.wake, heartbeats.book, words, recorder)
    forget, resolve = partial(_forget, guards, shapes.book, heartbeats), guards.known_good.published
    published = Publisher(snapshot, saver, forget, log, resolve)
    committer = Committer(current, kept.desired, kept.generations, kept.nbps, sql, published)
    shelf = NbpShelf(current, kept.artifacts, NbpCache(nbps).read)
    register = settings.unknown is UnknownPolicy.REGISTER
    sightings = Sightings(current, recorder, log, calm, register=register, fetched=shapes.fetched)
    return Parts(
        settings=settings,
        segments=make_segments(
            settings, ports, nbps, current, shapes, exchanges, sightings, guards.loops, shelf
        ),
        kept=kept,
        sql=sql,
        current=current,
        timeline=timeline,
        recorder=recorder,
        filler=filler,
        committer=committer,
        saver=saver,
        guards=guards,
        nbps=nbps,
        shelf=shelf,
        shapes=shapes,
        calm=calm,
        sightings=sightings,
        heartbeats=heartbeats,
        reboots=(wishes := Wishes()),
        rebooting=_rebooting(settings, kept, sql, filler, current, wishes, heartbeats, log),
        access=AccessBook(AccessStore(kept.database), sql),
        words=words,
        audit=_audit(settings, kept, sql, filler, log),
        sender=Sender(lambda detail: calm.warning("sender", detail=detail)),
    )


def _shapes(
    settings: Settings,
    nbps: Mapping[str, Path],
    current: Current,
    kept: Kept,
    log: Any,
    filler: Filler,
) -> ShapeKeeper:
    book, learned = ShapeBook(load_quirks(settings, nbps)), settings.state_dir / SHAPES_FILE
    return ShapeKeeper(book, learned, current, kept.journal, log, filler.wake)


def _forget(
    guards: Guards, book: ShapeBook, heartbeats: HeartbeatKeeper, snapshot: Snapshot
) -> None:
    """Drop what is kept of nodes and MACs that are not in ``snapshot``."""
    guards.forget_all_but(snapshot)
    book.forget_all_but(snapshot.by_mac.keys())
    heartbeats.forget_all_but(snapshot)


def _audit(
    settings: Settings, kept: Kept, sql: DatabaseThread, filler: Filler, log: Any
) -> AuditKeeper:
    return make_keeper(settings, kept.journal, kept.database, kept.watch, sql, filler, log)


def _heartbeats(
    settings: Settings,
    kept: Kept,
    sql: DatabaseThread,
    current: Current,
    recorder: Recorder,
    log: Any,
) -> HeartbeatKeeper:
    return HeartbeatKeeper(
        HeartbeatBook(),
        DiffBook(settings.drift_diff_paths),
        DriftStore(kept.database),
        sql,
        current,
        recorder.spoken,
        log,
        settings.heartbeats_missed,
        settings.heartbeat_seconds,
    )


def _rebooting(
    settings: Settings,
    kept: Kept,
    sql: DatabaseThread,
    filler: Filler,
    current: Current,
    wishes: Wishes,
    heartbeats: HeartbeatKeeper,
    log: Any,
) -> Reboots:
    stores = (kept.reboots, kept.boots)
    agents = AgentRequests(wishes, heartbeats.book)
    return make_reboots(settings, stores, sql, filler.flush, current, agents, log)


def _guards(
    settings: Settings,
    kept: Kept,
    log: Any,
    appended: Callable[[], None],
    book: HeartbeatBook,
    words: NodeWords,
    recorder: Recorder,
) -> Guards:
    limits = LoopLimits(
        settings.boots_per_node, settings.nbps_per_node, window=settings.loop_minutes * 60
    )
    once = OnceDesk(kept.once, kept.journal, log, appended)
    known_good = make_known_good(settings, book, words, kept.journal, log, appended)
    recorder.seen = known_good.seen
    return Guards(Minter(), LoopGuard(limits), once, known_good)


def _first_snapshot(kept: Kept, saved: Path, log: Any) -> tuple[Snapshot, bool]:
    """Return the snapshot to start with, and whether it is the saved one, the database away."""
    try:
        snapshot = _load_snapshot(kept)
    except (Unavailable, StorageFull) as error:
        found = saved_snapshot(saved)
        if found is None:
            raise
        log.error("database away", error=str(error), serving_revision=found.revision.number)
        return found, True
    check_not_older(snapshot, saved)
    return snapshot, False


def _load_snapshot(kept: Kept) -> Snapshot:
    revision, state = kept.desired.load()
    generations = {one.ref: one for one in kept.generations.list(include_removed=True)}
    nbps = {nbp.name: nbp for nbp in kept.nbps.list()}
    return build_snapshot(revision, state, generations, kept.database.site_id, nbps)
