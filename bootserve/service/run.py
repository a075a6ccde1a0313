"""Starts the server in order, serves until a signal, and stops it in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, cast

from aiohttp import web

from bootserve.errors import BootserveError
from bootserve.servers.admin.plane import AdminPlane, DriftSight
from bootserve.servers.admin.repeats import Repeats
from bootserve.servers.boot import files, heartbeats, reports, scripts
from bootserve.servers.boot.app import make_app as make_boot_app
from bootserve.servers.boot.front import IDLE_SECONDS, Listener, Unasked
from bootserve.servers.boot.plain_heartbeats import PlainHeartbeats
from bootserve.servers.collector import Collector
from bootserve.servers.neighbours import Neighbours
from bootserve.service.admin import keep_uses, listen, login_of, make_admin_app
from bootserve.service.calm import Calm
from bootserve.service.heartbeats import pace_of
from bootserve.service.hugepages import keep_huge_pages
from bootserve.service.lifetime import Lifetime, Together
from bootserve.service.logs import Output, make_logger, make_script_log
from bootserve.service.memory import Memory
from bootserve.service.notify import notify
from bootserve.service.ports import Ports, bind_ports
from bootserve.service.privileges import LOCK_FILE, find_identity, prepare_state_dir
from bootserve.service.punctual import be_punctual
from bootserve.service.recall import Recall
from bootserve.service.reload import reload, reload_on_signal
from bootserve.service.rollouts import make_rollouts
from bootserve.service.scrubber import Scrubber
from bootserve.service.segments import Segment, find_networks
from bootserve.service.status import Reporter
from bootserve.service.tls import Tls, check_admin_address, open_tls
from bootserve.service.weblog import library_logs, make_web_logger
from bootserve.service.wiring import Kept, Parts, open_kept, wire
from bootserve.settings import Settings
from bootserve.store.history import HistoryStore
from bootserve.store.kept_answers import KeptAnswers
from bootserve.store.lock import StateLock

__all__ = ["serve"]

FLUSH_SECONDS = 2.0
"""How long the rest of the journal may take on its way to SQL when the server ends."""
ANSWER_SECONDS = 1.0
"""How long answers that are being sent may take then; aiohttp waits as long again for handlers."""
SCRUBBED_FILE = "scrubbed"
"""In the state directory: when the last scrub ended."""
GC_THRESHOLDS = (10_000, 20, 50)
"""Little here is in cycles: searched for seldom, they hold up replies seldom."""
SWITCH_SECONDS = 0.0005
"""How long a thread that computes may keep the event loop waiting; Python's own choice is 5 ms."""
STAYS_ROOT = (
    "the state directory is root's, so the server stays root in name, though without any right; to"
    " change that, `adduser --system --group bootserve`, and start it with --user bootserve once"
)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the process' exit code.

    That is 0, or 1 when it cannot start or a part of it has died.

    Needs the right to bind ports below 1024 and to use SO_BINDTODEVICE: root, or CAP_NET_RAW and
    CAP_NET_BIND_SERVICE. Once the ports are bound, every right is given up for good.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*GC_THRESHOLDS)
    be_punctual()
    output = Output(sys.stderr)
    log = make_logger(settings.log_format, output)
    _allow_many_files()
    try:
        check_admin_address(settings)
        networks = find_networks(settings)
        identity = find_identity(settings.user, settings.state_dir)
        if identity.uid == 0 and not settings.user:
            log.warning("root", detail=STAYS_ROOT)
        prepare_state_dir(settings.state_dir, identity)
        with contextlib.ExitStack() as stack:
            with identity.assumed():
                stack.enter_context(StateLock(settings.state_dir / LOCK_FILE))
                tls = open_tls(settings)
            ports = stack.enter_context(contextlib.closing(bind_ports(settings, networks)))
            identity.become()
            return asyncio.run(_serve(settings, ports, tls, log, output))
    except BootserveError as error:
        print(f"bootserve: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return 1


def _allow_many_files() -> None:
    """Raise the number of open files to the hard limit: a rack has more nodes than the usual."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now != most:  # systemd's LimitNOFILE sets both, and its sandbox forbids the call
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(
    settings: Settings, ports: Ports, tls: Tls | None, log: Any, output: Output
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Lifetime(stop, log) as stack:
        kept = await asyncio.to_thread(open_kept, settings)
        log_scripts = make_script_log(settings.log_format, output)
        stack.callback(kept.close)
        parts = await asyncio.to_thread(wire, settings, ports, kept, log, log_scripts)
        parts.rollouts = make_rollouts(parts, log)
        stack.callback(parts.sql.close)
        stack.callback(parts.calm.flush)
        stack.enter_context(library_logs(parts.calm))
        again = partial(reload, parts, tls, log)
        reload_on_signal(again, parts.audit.note, log)
        await _start(parts, kept, ports, tls, again, log, stack)
        gc.collect()
        gc.freeze()  # what was loaded at start stays: collections need not walk it
        stack.background(keep_huge_pages(lambda: parts.current.snapshot.revision.number))
        snapshot = parts.current.snapshot
        log.info(
            "ready",
            segments={one.interface: str(one.network.ip) for one in parts.segments},
            revision=snapshot.revision.number,
            nodes=len(snapshot.plans),
            nbps=len(parts.nbps),
        )
        notify("READY=1", f"STATUS=revision {snapshot.revision.number}")
        await stop.wait()
        log.info("stopping")
        notify("STOPPING=1")
    log.info("stopped")
    return int(stack.failed)


async def _start(
    parts: Parts,
    kept: Kept,
    ports: Ports,
    tls: Tls | None,
    reload: Callable[[], None],
    log: Any,
    stack: Lifetime,
) -> None:
    """Start from the inside out: state, then admin plane, then boot plane, DHCP last."""
    await parts.sender.start()
    stack.push_async_callback(parts.sender.stop)
    parts.saver.publish(parts.current.snapshot)
    memory = Memory(parts, log)
    await memory.start()
    collector = Collector(kept.artifacts, kept.generations, parts.sql, log)
    scrubber = Scrubber(kept.artifacts, parts.settings.state_dir / SCRUBBED_FILE, log)
    stack.push_async_callback(parts.saver.save)
    stack.push_async_callback(parts.audit.stop)
    stack.push_async_callback(_last_flush, parts, log)
    stack.push_async_callback(parts.shapes.save)
    stack.background(parts.saver.run())
    stack.push_async_callback(parts.heartbeats.save)
    stack.background(parts.shapes.run())
    stack.background(parts.heartbeats.run())
    stack.background(parts.rollouts.run())
    stack.background(parts.filler.run(memory.back))
    stack.background(scrubber.run(parts.settings.scrub_hours))
    stack.background(collector.run())
    stack.push_async_callback(parts.rebooting.stop)
    stack.background(parts.rebooting.run())
    stack.background(parts.audit.run())
    stack.background(parts.audit.watch_over())
    planes = Together()
    stack.push_async_callback(planes.end)
    await _start_admin(parts, kept, ports, tls, scrubber, collector, reload, stack, planes)
    await _start_boot_http(parts, kept, log, stack, planes)
    for segment in parts.segments:
        await segment.tftp.start()
        planes.add(segment.tftp.stop)
    for segment in parts.segments:
        await segment.dhcp.start()
        stack.push_async_callback(segment.dhcp.stop)


async def _last_flush(parts: Parts, log: Any) -> None:
    """Carry the rest of the journal to SQL; what cannot be carried stays in the journal."""
    try:
        async with asyncio.timeout(FLUSH_SECONDS):
            await parts.filler.flush()
    except (BootserveError, TimeoutError) as error:
        log.warning("journal left for the next start", error=str(error) or "it takes too long")


async def _start_admin(
    parts: Parts,
    kept: Kept,
    ports: Ports,
    tls: Tls | None,
    scrubber: Scrubber,
    collector: Collector,
    reload: Callable[[], None],
    stack: Lifetime,
    planes: Together,
) -> None:
    settings = parts.settings
    reporter = Reporter(parts)

    plane = AdminPlane(
        current=parts.current,
        committer=parts.committer,
        database=parts.sql,
        desired=kept.desired,
        generations=kept.generations,
        boots=kept.boots,
        artifacts=kept.artifacts,
        collector=collector,
        sender=parts.sender,
        http_base=parts.segments[0].http_base,
        guards=parts.guards,
        once_history=kept.once_history,
        flush=parts.filler.flush,
        status=reporter.status,
        reload=reload,
        check=scrubber.check,
        scrub=scrubber.scrub,
        shapes=parts.shapes.book,
        repeats=Repeats(KeptAnswers(kept.database), parts.sql),
        reboots=parts.rebooting,
        access=parts.access,
        login=login_of(settings),
        rollouts=parts.rollouts,
        audit=parts.audit.desk,
        history=HistoryStore(kept.database),
        drift=_drift_sight(parts),
    )
    app = await make_admin_app(settings, plane, reporter.registry(), parts.calm, tls)
    runner = await _runner(app, parts.calm, planes)
    stack.background(keep_uses(parts.access))
    await listen(settings, ports, runner, tls, stack.callback)


def _drift_sight(parts: Parts) -> DriftSight:
    keeper = parts.heartbeats
    return DriftSight(keeper.book, keeper.diffs, keeper.store, keeper.watch)


async def _start_boot_http(
    parts: Parts, kept: Kept, log: Any, stack: AsyncExitStack, planes: Together
) -> None:
    recall = Recall(parts.current, kept.boots, parts.sql, parts.filler)
    report_desk, heartbeat_desk = _report_desks(parts, recall)
    shared = [
        *files.routes(parts.sender, kept.artifacts, parts.nbps, parts.shelf.find, parts.recorder),
        *reports.routes(report_desk),
        *heartbeats.routes(heartbeat_desk),
    ]
    plain = PlainHeartbeats(heartbeat_desk, parts.heartbeats.book)
    for segment in parts.segments:
        neighbours = Neighbours(segment.interface)
        stack.callback(neighbours.close)
        desk = _script_desk(parts, segment, neighbours)
        unasked = Unasked()
        app = make_boot_app([*scripts.routes(desk), *shared], parts.calm, unasked.asked)
        runner = await _runner(app, parts.calm, planes, idle_seconds=IDLE_SECONDS)
        server = cast(web.Server, runner.server)
        listener = Listener(
            desk,
            cast(Callable[[], asyncio.Protocol], server),
            unasked=unasked,
            busy=lambda server=server: len(server.connections),  # type: ignore[misc]
            heartbeat=plain.answer,
            full=lambda error: parts.calm.error("connections wait", error=str(error)),
        )
        listener.start(segment.http)
        stack.push_async_callback(listener.stop)


def _report_desks(
    parts: Parts, recall: Recall
) -> tuple[reports.ReportDesk, heartbeats.HeartbeatDesk]:
    book = parts.heartbeats.book
    arrivals = heartbeats.Arrivals(book, parts.recorder, parts.guards.known_good.spoke)
    report_desk = reports.ReportDesk(
        parts.current,
        parts.timeline,
        parts.recorder,
        parts.guards.loops,
        recall.find,
        arrivals.came_up,
    )
    heartbeat_desk = heartbeats.HeartbeatDesk(
        book,
        parts.heartbeats.diffs,
        parts.recorder,
        arrivals,
        partial(report_desk.authenticate, bind=True),
        parts.reboots.wanted,
        pace_of(parts.settings),
    )
    return report_desk, heartbeat_desk


def _script_desk(parts: Parts, segment: Segment, neighbours: Neighbours) -> scripts.ScriptDesk:
    return scripts.ScriptDesk(
        parts.current,
        parts.recorder,
        parts.guards,
        http_base=segment.http_base,
        unknown=parts.settings.unknown,
        network=segment.network,
        neighbour=neighbours.mac,
    )


async def _runner(
    app: web.Application, calm: Calm, planes: Together, idle_seconds: float = 3600.0
) -> web.AppRunner:
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=ANSWER_SECONDS,
        keepalive_timeout=idle_seconds,
        logger=make_web_logger(calm),
    )
    await runner.setup()
    planes.add(runner.cleanup)
    return runner
