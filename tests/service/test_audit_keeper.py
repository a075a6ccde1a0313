"""The keeper of the audit log: heads, checkpoints, pruning, and the alarm when SQL fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from vm_harness.lab import Lab

from bootserve.core.audit_chain import parse_record
from bootserve.errors import BootserveError
from bootserve.model.audit import AuditEntry, AuditKind, Chain
from bootserve.model.hooks import Hook, HookWhen
from bootserve.servers.dbthread import DatabaseThread
from bootserve.service.audit_keeper import AuditKeeper
from bootserve.service.audit_wiring import make_keeper
from bootserve.service.filler import Filler
from bootserve.settings import Settings
from bootserve.store.audit_log import AuditFilter
from bootserve.store.boots import BootStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.journal import Journal
from bootserve.store.records import BootRecord
from bootserve.store.write_watch import WriteWatch
from tests.service.conftest import Servers
from tests.support.api import Admin, Problem

DAY = 86_400.0


class Scene:
    """A keeper with all that it keeps, in ``folder``; the clock of the journal stands at 7."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.logged = structlog.testing.LogCapture()
        log = structlog.wrap_logger(None, processors=[self.logged])
        self.journal = Journal(folder / "journal", max_bytes=1 << 20, clock=lambda: 7.0)
        self.watch = WriteWatch(self.journal, lambda: 7.0)
        url = sqlite_url(folder / "bootserve.db")
        self.database = Database(url, self.journal.id, self.watch)
        self.time = time.monotonic()
        self.sql = DatabaseThread(lambda: self.time)
        boots = BootStore(self.database, self.journal.id)
        self.filler = Filler(self.journal, boots, self.sql, log)
        found = Settings(state_dir=folder, **settings)
        parts = (self.journal, self.database, self.watch, self.sql, self.filler, log)
        self.keeper: AuditKeeper = make_keeper(found, *parts)

    def kinds(self) -> list[str]:
        """Return the kinds of all records, the oldest first."""
        found = self.keeper.desk.log.page(AuditFilter(), limit=1000)
        return [parse_record(one.line)["kind"] for one in reversed(found)]

    def head(self) -> Any:
        return json.loads((self.folder / "audit.head").read_bytes())["heads"]

    async def record(self) -> None:
        await self.keeper.desk.record(AuditEntry(AuditKind.RELOAD, time.time(), "ada"))

    def close(self) -> None:
        self.sql.close()
        self.journal.close()
        self.database.close()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    one = Scene(tmp_path)
    yield one
    one.close()


def test_the_key_is_made_once_and_is_for_the_server_alone(tmp_path: Path) -> None:
    one = Scene(tmp_path)
    key = one.keeper.desk.signer.id
    one.close()
    two = Scene(tmp_path)
    assert two.keeper.desk.signer.id == key
    two.close()
    assert stat.S_IMODE((tmp_path / "audit.key").stat().st_mode) == 0o600
    assert (tmp_path / "audit.pub").read_text().startswith("-----BEGIN PUBLIC KEY")


async def test_a_damaged_key_is_a_problem_and_no_reason_not_to_boot_nodes(tmp_path: Path) -> None:
    (tmp_path / "audit.key").write_text("no key")
    scene = Scene(tmp_path)
    assert "the audit key cannot be used" in scene.keeper.problems()[0]
    await scene.keeper.turn()
    assert scene.kinds() == ["server"]
    with pytest.raises(BootserveError):
        await scene.keeper.desk.heads()
    scene.close()


async def test_the_server_is_on_record_and_its_heads_are_kept(scene: Scene) -> None:
    await scene.keeper.turn()
    assert scene.head()["changes"]["sequence"] == 1
    await scene.record()
    await scene.keeper.turn()
    assert scene.head()["changes"]["sequence"] == 2
    await scene.keeper.stop()
    assert scene.kinds() == ["server", "reload", "server", "checkpoint", "checkpoint"]
    assert scene.head()["changes"]["sequence"] == 4
    assert (await scene.keeper.desk.verify([], [])).findings == []


async def test_the_start_is_on_record_with_its_hooks_and_none_of_their_secrets(
    tmp_path: Path,
) -> None:
    run = ("/opt/drain", "--token", "s3cret")
    drain = Hook("drain", HookWhen.BEFORE, run=run, env={"PASSWORD": "s3cret"})
    notify = Hook("notify", HookWhen.AFTER, url="https://me:s3cret@noc.example/s3cret?s3cret")
    scene = Scene(tmp_path, hooks=(drain, notify))
    await scene.keeper.turn()
    (start,) = scene.keeper.desk.log.page(AuditFilter(), limit=10)
    assert "s3cret" not in start.line
    told = parse_record(start.line)["detail"]["settings"]["hooks"]
    assert [(one["name"], one["run"], one["url"], one["env"]) for one in told] == [
        ("drain", ["/opt/drain"], "", ["PASSWORD"]),
        ("notify", [], "https://noc.example", []),
    ]
    scene.close()


async def test_checkpoints_come_when_something_was_recorded(tmp_path: Path) -> None:
    scene = Scene(tmp_path, audit_checkpoint_minutes=1e-9)
    for _ in range(3):
        await scene.keeper.turn()
    assert scene.kinds() == ["server", "checkpoint", "checkpoint"]
    await scene.record()
    await scene.keeper.turn()
    assert scene.kinds()[3:] == ["reload", "checkpoint", "checkpoint"]
    scene.close()


def cut_off(folder: Path) -> None:
    """Delete all records but the first two."""
    with closing(sqlite3.connect(folder / "bootserve.db")) as database, database:
        database.execute("DROP TRIGGER audit_no_delete")
        database.execute("DELETE FROM audit WHERE sequence > 2")


@pytest.mark.parametrize("taken_too", [False, True])
async def test_the_alarm_is_over_once_the_evidence_is_moved_away(
    scene: Scene, taken_too: bool
) -> None:
    for _ in range(4):
        await scene.record()
    await scene.keeper.turn()
    kept, file = scene.head(), scene.folder / "audit.head"
    cut_off(scene.folder)
    if taken_too:
        file.unlink()
    for _ in range(3):
        await scene.keeper.turn()
        assert scene.head() == kept
        assert "was cut off" in scene.keeper.problems()[0]
    file.rename(scene.folder / "evidence")
    await scene.keeper.turn()
    assert scene.keeper.problems() == []
    await scene.record()
    await scene.keeper.turn()
    assert scene.head()["changes"]["sequence"] == 4  # two, the failure, and one more
    events = [one["event"] for one in scene.logged.entries]
    assert events == ["audit alarm", "audit alarm over"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_heads_that_are_gone_are_an_alarm_and_stay_as_evidence(
    tmp_path: Path, restarted: bool
) -> None:
    scene = Scene(tmp_path)
    for _ in range(4):
        await scene.record()
    await scene.keeper.turn()
    kept = scene.head()
    if restarted:
        scene.close()
        scene = Scene(tmp_path)
    cut_off(tmp_path)
    for _ in range(3):
        await scene.keeper.turn()
        assert "was cut off" in scene.keeper.problems()[0]
        assert scene.head() == kept
    assert scene.kinds().count("failure") == 1
    assert [one["event"] for one in scene.logged.entries].count("audit alarm") == 1
    assert {one.problem for one in (await scene.keeper.desk.verify([], [])).findings} & {
        "truncated",
        "altered",
    }
    scene.close()


async def test_what_is_older_than_it_is_kept_is_pruned_and_the_rest_verifies(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, keep_boots_days=2, keep_changes_days=3)
    now = time.time()
    for n in range(1200):
        at = now - 10 * DAY + 60 + n * DAY / 120
        record = BootRecord(f"b{n}", "n1", "m", "web@1", "d" * 64, 1, at, "10.0.0.5")
        scene.journal.append(record)
    await scene.filler.flush()
    for days in (5, 4, 1):
        entry = AuditEntry(AuditKind.RELOAD, now - days * DAY, "ada")
        await scene.keeper.desk.record(entry)
    await scene.keeper.turn()
    assert scene.kinds().count("boot") == 240
    assert scene.kinds().count("reload") == 1
    assert scene.kinds()[-1] == "prune"
    verdict = await scene.keeper.desk.verify([], [])
    assert verdict.findings == []
    assert {one.chain: one.pruned for one in verdict.chains} == {Chain.CHANGES: 2, Chain.BOOTS: 960}
    scene.close()


async def test_an_export_that_nobody_takes_holds_up_pruning_and_nothing_else(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, keep_changes_days=3)
    for _ in range(2):
        entry = AuditEntry(AuditKind.RELOAD, time.time() - 5 * DAY, "ada")
        await scene.keeper.desk.record(entry)
    lines = scene.keeper.desk.export(None, None)
    await anext(lines)
    async with asyncio.timeout(60):
        await scene.keeper.turn()
        assert scene.head()["changes"]["sequence"] == 3
        assert (await scene.keeper.desk.verify([], [])).findings == []
    assert scene.kinds() == ["reload", "reload", "server"]
    assert b'"reload"' in b"".join([part async for part in lines])
    await scene.keeper.turn()
    assert scene.kinds() == ["server", "prune"]
    scene.close()


# --- the alarm ------------------------------------------------------------------------------


@contextlib.contextmanager
def without_audit(state_dir: Path) -> Iterator[None]:
    """Take a table of the audit log away for a while, so that no change can be recorded."""
    with closing(sqlite3.connect(state_dir / "bootserve.db", timeout=60)) as other:
        other.execute("ALTER TABLE audit_chain RENAME TO elsewhere")
        yield
        other.execute("ALTER TABLE elsewhere RENAME TO audit_chain")


async def test_a_write_that_fails_is_an_alarm_and_then_on_record(scene: Scene) -> None:
    await scene.keeper.turn()
    with without_audit(scene.folder):
        for _ in range(2):
            with pytest.raises(BootserveError):
                await scene.record()
        assert "refused, or waiting (2 times so far)" in scene.keeper.problems()[0]
        assert scene.keeper.failed == 2
        assert [one["event"] for one in scene.logged.entries] == ["audit alarm"]
    await scene.record()
    assert scene.keeper.problems() == []
    await scene.filler.flush()
    assert scene.kinds() == ["server", "reload", "failure", "failure"]


async def test_a_database_that_does_not_answer_is_an_alarm_and_then_on_record(
    scene: Scene,
) -> None:
    await scene.keeper.turn()
    disk = threading.Event()
    hanging = asyncio.create_task(scene.sql.run(disk.wait))
    while not scene.sql.age:  # it is at it once its thread runs
        scene.time += 0.001
        await asyncio.sleep(0.001)
    scene.keeper.look()
    assert scene.keeper.problems() == []
    scene.time += 4
    for _ in range(3):
        scene.keeper.look()
    assert "at one job for more than 4 s" in scene.keeper.problems()[0]
    disk.set()
    await hanging
    scene.keeper.look()
    await scene.keeper.turn()
    assert scene.keeper.problems() == []
    await scene.filler.flush()
    assert scene.kinds() == ["server", "failure", "failure"]
    events = [one["event"] for one in scene.logged.entries]
    assert events == ["audit alarm", "audit alarm over"]


async def test_a_journal_that_fails_is_an_alarm_also_while_the_log_is_pruned(
    scene: Scene,
) -> None:
    disk = threading.Event()
    pruning = asyncio.create_task(scene.sql.run(disk.wait))
    tasks = [asyncio.create_task(one) for one in (scene.keeper.run(), scene.keeper.watch_over())]
    while not scene.journal.full:
        scene.journal.append(BootRecord("b", "n1", "m", "web@1", "d" * 64, 1, 1.0, "a" * 60_000))
    assert f"{scene.journal.lost} record is lost" in scene.keeper.problems()[0]
    async with asyncio.timeout(60):
        while not scene.logged.entries:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert scene.logged.entries[0]["event"] == "audit alarm"
    assert scene.logged.entries[0]["error"] == "the journal cannot be written"
    disk.set()
    await pruning
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def wait_for(holds: Callable[[], bool], seconds: float = 60) -> None:
    started = time.monotonic()
    while not holds():
        assert time.monotonic() < started + seconds
        time.sleep(0.05)


def test_a_server_whose_database_takes_nothing_says_so_and_records_it(
    lab: Lab, servers: Servers
) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    admin.call("PUT", "/roles/compute", image="web")
    with without_audit(server.state_dir):
        with pytest.raises(Problem) as refused:
            admin.call("PUT", "/roles/storage", image="web")
        assert refused.value.status == 503
        assert admin.raw("GET", "/readyz")[0] == 503
        assert "changes cannot be recorded" in admin.raw("GET", "/readyz")[1].decode()
        assert "bootserve_audit_alarm 1.0" in admin.raw("GET", "/metrics")[1].decode()
        wait_for(lambda: "audit alarm" in server.log_text())
        assert [one["name"] for one in admin.call("GET", "/roles")["roles"]] == ["compute"]
    wait_for(lambda: admin.call("GET", "/status")["ready"])
    found = admin.call("GET", "/audit?kind=failure")["records"]
    assert [one["detail"]["over"] for one in found[:2]] == [True, False]
    assert admin.call("POST", "/audit/verify")["intact"]


def test_the_alarm_is_raised_within_five_seconds_and_is_on_record(
    lab: Lab, servers: Servers
) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    admin.call("PUT", "/roles/compute", image="web")
    with closing(sqlite3.connect(server.state_dir / "bootserve.db", timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Problem) as refused:
            admin.call("PUT", "/roles/storage", image="web")
        assert refused.value.status == 503
        assert admin.raw("GET", "/readyz")[0] == 503
        assert "bootserve_audit_alarm 1.0" in admin.raw("GET", "/metrics")[1].decode()
        wait_for(lambda: "audit alarm" in server.log_text())
        other.rollback()
    wait_for(lambda: admin.call("GET", "/status")["ready"])
    assert "bootserve_audit_alarm 0.0" in admin.raw("GET", "/metrics")[1].decode()
    failure, over = admin.call("GET", "/audit?kind=failure")["records"][-1:-3:-1]
    assert (failure["detail"]["over"], over["detail"]["over"]) == (False, True)
    alarm = next(line for line in server.log_text().splitlines() if '"audit alarm"' in line)
    raised = datetime.fromisoformat(json.loads(alarm)["timestamp"]).timestamp()
    assert 0 <= raised - failure["detail"]["since"] < 5
    assert admin.call("POST", "/audit/verify")["intact"]


def test_a_server_that_starts_without_its_database_records_that_later(servers: Servers) -> None:
    server = servers.start()
    admin = Admin(server.state_dir)
    admin.call("PUT", "/roles/compute", image="web")
    server.terminate()
    path = server.state_dir / "bootserve.db"
    kept = path.read_bytes()
    path.write_bytes(b"this is no database" * 1000)
    server.start()
    assert not admin.call("GET", "/status")["ready"]
    path.write_bytes(kept)
    admin.wait_ready()
    wait_for(
        lambda: len(admin.call("GET", "/audit?kind=server")["records"]) == 3,
    )
    assert admin.call("GET", "/audit?kind=failure")["records"]
    assert admin.call("POST", "/audit/verify")["intact"]
