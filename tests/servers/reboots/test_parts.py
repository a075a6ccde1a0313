"""The parts of a reboot as a rollout calls them, and how long is waited for what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from bootserve.core.heartbeats import HeartbeatBook, Wishes
from bootserve.core.snapshot import NodePlan
from bootserve.errors import Conflict, Unavailable
from bootserve.model.boot import Boot
from bootserve.model.desired import Node
from bootserve.model.generation import GenerationRef
from bootserve.model.hooks import Hook, HookWhen
from bootserve.model.reboot import RebootMethod, RebootTask
from bootserve.model.reboot_record import Reboot, RebootPhase
from bootserve.servers.dbthread import DatabaseThread
from bootserve.servers.reboots.agents import AgentRequests
from bootserve.servers.reboots.methods import Patience
from bootserve.servers.reboots.parts import Reboots
from bootserve.servers.reboots.redfish import RedfishSettings
from bootserve.servers.reboots.steps import Steps
from bootserve.store.boots import BootStore
from bootserve.store.database import Database, sqlite_url
from bootserve.store.reboots import RebootStore
from bootserve.store.records import BootRecord
from tests.support.bmc import Bmc, credentials
from tests.support.states import MAC, generation, node, snapshot, state

PATIENCE = Patience(agent=0.6, graceful=0.6, up=0.6, poll=0.05)


class World:
    """Everything that reboots nodes, on a database in ``folder``; ``again`` is a new server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.database = Database(sqlite_url(folder / "db.sqlite"))
        self.boots = BootStore(self.database, "j")
        self.store = RebootStore(self.database)
        self.sql = DatabaseThread()
        self.labels: dict[str, str] = {}
        self.ca_file: Path | None = None
        self.reboots = self.again()

    def again(self) -> Reboots:
        self.reboots = Reboots.join(
            self.store,
            self.boots,
            self.sql,
            self.flush,
            lambda: snapshot(
                state(node("n1", role="compute", labels=tuple(self.labels.items()))),
                generation("web@1"),
            ),
            self.hooks(),
            AgentRequests(Wishes(), HeartbeatBook()),
            RedfishSettings(credentials=credentials(self.folder), ca_file=self.ca_file),
            PATIENCE,
            structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()]),
        )
        return self.reboots

    async def started(self) -> Reboots:
        """Return a new server that has taken up what the last one left."""
        reboots = self.again()
        await reboots.run()
        return reboots

    async def flush(self) -> None:
        pass

    def hooks(self) -> tuple[Hook, ...]:
        def hook(name: str, when: HookWhen) -> Hook:
            text = (
                f"echo {name} $BOOTSERVE_REBOOTED $BOOTSERVE_ROLLOUT >>{self.calls}; [ ! -e {{}} ]"
            )
            run = ("/bin/sh", "-c", text.format(self.folder / f"fail-{name}"))
            return Hook(name, when, run=run, retries=0)

        return (hook("cordon", HookWhen.BEFORE), hook("uncordon", HookWhen.AFTER))

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def boot(self) -> None:
        """Have n1 boot now."""
        one = Boot(
            "b" * 32, "n1", MAC, GenerationRef("web", 1), "0" * 64, 1, time.time(), "1.2.3.4"
        )
        self.boots.apply([(1, BootRecord.of(one))], 1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.sql.close()
    made.database.close()


@pytest.fixture
def bmc(world: World, tmp_path: Path) -> Iterator[Bmc]:
    """The BMC of n1, which says yes to a graceful restart and does nothing."""
    made = Bmc(tmp_path / "bmc", {"name": "n1", "deaf": True})
    world.labels, world.ca_file = {"bmc": made.url}, made.cert
    yield made
    made.stop()


def task(method: RebootMethod = RebootMethod.NONE, attempt: int = 1) -> RebootTask:
    return RebootTask(3, "n1", attempt, method, GenerationRef("web", 2))


async def test_a_rollouts_parts_are_done_once_over_a_restart(world: World) -> None:
    assert (await (await world.started()).rollouts.before(task())).done
    assert (await (await world.started()).rollouts.before(task())).done
    assert (await world.reboots.rollouts.reboot(task())).done
    assert (await world.again().rollouts.reboot(task())).done
    assert (await world.reboots.rollouts.after(task(), up=True)).done
    assert (await world.again().rollouts.after(task(), up=True)).done
    assert world.called() == ["cordon 0 3", "uncordon 1 3"]
    (shown,) = world.store.list(rollout=3)
    assert shown.reboot.id == task().id
    assert (shown.reboot.by, shown.reboot.done) == ("rollout 3", True)
    assert shown.reboot.to_generation == "web@2"
    assert (await (await world.started()).rollouts.before(task(attempt=2))).done
    assert world.called()[2:] == ["cordon 0 3"]


async def test_a_node_that_did_not_come_up_stays_out_of_service(world: World) -> None:
    rollouts = (await world.started()).rollouts
    await rollouts.before(task())
    await rollouts.reboot(task())
    done = await rollouts.after(task(), up=False)
    assert (done.done, "did not come up" in done.detail) == (False, True)
    assert world.called() == ["cordon 0 3"]


async def test_a_node_that_was_not_rebooted_is_put_back(world: World) -> None:
    (world.folder / "fail-cordon").touch()
    rollouts = (await world.started()).rollouts
    before = await rollouts.before(task())
    assert before.detail == "hook cordon failed: exit code 1"
    assert (await rollouts.reboot(task())).detail == before.detail
    assert not (await rollouts.after(task(), up=False)).done
    assert world.called() == ["cordon 0 3", "uncordon 0 3"]
    assert world.store.get(task().id).reboot.phase is RebootPhase.ENDED


async def test_an_agent_that_is_not_heard_is_told(world: World) -> None:
    done = await world.reboots.rollouts.reboot(task(RebootMethod.AGENT))
    assert not done.done
    assert "no heartbeat of it came within 0.6 s" in done.detail
    assert world.store.get(task().id).reboot.told_at is None


async def test_without_a_hook_for_it_that_is_told(world: World) -> None:
    done = await world.reboots.rollouts.reboot(task(RebootMethod.HOOK))
    assert not done.done
    assert 'no hook with when = "reboot"' in done.detail


async def test_what_nothing_comes_of_is_forced(world: World, bmc: Bmc) -> None:
    done = await world.again().rollouts.reboot(task(RebootMethod.REDFISH))
    assert bmc.resets() == ["GracefulRestart", "ForceRestart"]
    assert done.detail == (
        "its BMC asked it to restart; nothing came of it in 0.6 s, and its BMC resets it"
    )
    world.boot()
    again = await world.again().rollouts.reboot(task(RebootMethod.REDFISH, attempt=1))
    assert again.done
    assert len(bmc.resets()) == 2
    world.reboots.redfish.close()


async def test_a_node_that_took_the_first_order_and_could_not_be_forced_stays_out_of_service(
    world: World, bmc: Bmc, monkeypatch: pytest.MonkeyPatch
) -> None:
    reboots = await world.started()
    restart, answered = reboots.redfish.restart, asyncio.Event()

    async def told(node: Node, *, force: bool) -> str:
        said = await restart(node, force=force)
        answered.set()
        return said

    monkeypatch.setattr(reboots.redfish, "restart", told)
    redfish = task(RebootMethod.REDFISH)
    await reboots.rollouts.before(redfish)
    part = asyncio.create_task(reboots.rollouts.reboot(redfish))
    await asyncio.wait_for(answered.wait(), 60)
    assert bmc.resets() == ["GracefulRestart"]
    bmc.stop()  # at once: nothing else runs on the loop until it has ended
    reboots.redfish._pause = 0.01
    done = await part
    assert done.done, done.detail
    assert "it could not be forced: " in done.detail
    assert world.store.get(redfish.id).reboot.told_at is not None
    assert "did not come up" in (await reboots.rollouts.after(redfish, up=False)).detail
    assert world.called() == ["cordon 0 3"]
    reboots.redfish.close()


def plan() -> NodePlan:
    return snapshot(state(node("n1", role="compute")), generation("web@1")).plans["n1"]


async def until(seen: Callable[[], bool]) -> None:
    """Wait until ``seen`` is true."""
    async with asyncio.timeout(60):
        while not seen():  # noqa: ASYNC110 (the database has no event)
            await asyncio.sleep(0.01)


async def test_one_that_is_cancelled_twice_is_cancelled_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes while the first is being put on record."""
    begun, go_on, drop = asyncio.Event(), asyncio.Event(), Steps.drop

    async def held(steps: Steps, reboot: Reboot, why: str) -> Reboot:
        begun.set()
        await go_on.wait()
        return await drop(steps, reboot, why)

    monkeypatch.setattr(Steps, "drop", held)
    desk = (await world.started()).desk
    reboot = await desk.start(plan(), RebootMethod.NONE, "ann", hooks=False)
    await until(lambda: world.store.get(reboot.id).reboot.phase is RebootPhase.WAITING)
    first = asyncio.create_task(desk.cancel("n1", "ann"))
    await asyncio.wait_for(begun.wait(), 60)
    second = asyncio.create_task(desk.cancel("n1", "bob"))
    await asyncio.sleep(0)  # it runs as far as it can: it waits for the first
    go_on.set()
    found = await asyncio.gather(first, second)
    assert [one.failure for one in found] == ["cancelled by ann"] * 2
    assert world.store.get(reboot.id).reboot.phase is RebootPhase.ENDED
    assert not await desk._steps.ledger.unfinished()


async def test_nothing_begins_before_what_was_under_way_is_taken_up(world: World) -> None:
    reboots = await world.started()
    first = await reboots.desk.start(plan(), RebootMethod.NONE, "ann", hooks=False)
    await reboots.stop()
    reboots = world.again()
    with pytest.raises(Unavailable, match="not taken up yet"):
        await reboots.desk.start(plan(), RebootMethod.NONE, "ann", hooks=False)
    part = asyncio.create_task(reboots.rollouts.before(task()))
    await reboots.run()
    with pytest.raises(Conflict, match="is being rebooted already"):
        await reboots.desk.start(plan(), RebootMethod.NONE, "ann", hooks=False)
    assert not part.done()
    assert (await reboots.desk.cancel("n1", "ann")).id == first.id
    assert (await part).done
    assert world.called() == ["cordon 0 3"]


async def test_a_restart_between_the_order_and_its_record_does_not_repeat_it(
    world: World, tmp_path: Path
) -> None:
    """The node booted since it was told to: it is not told again."""
    world.labels = {"bmc": "https://127.0.0.1:1"}
    await (await world.started()).rollouts.before(task(RebootMethod.REDFISH))
    world.store.change(task().id, told_at=time.time() - 5)
    world.boot()
    done = await world.again().rollouts.reboot(task(RebootMethod.REDFISH))
    assert (done.done, done.detail) == (True, "it has booted meanwhile")


async def test_a_bmc_that_cannot_be_reached_fails_the_part(world: World) -> None:
    world.labels = {"bmc": "https://127.0.0.1:1"}
    world.again().redfish._pause = 0.01
    done = await world.reboots.rollouts.reboot(task(RebootMethod.REDFISH))
    assert not done.done
    assert "cannot be reached. Is its label bmc the right address?" in done.detail
    world.reboots.redfish.close()


async def test_a_part_that_is_cancelled_goes_on_when_it_is_called_again(world: World) -> None:
    agent = task(RebootMethod.AGENT)
    await (await world.started()).rollouts.before(agent)
    part = asyncio.create_task(world.reboots.rollouts.reboot(agent))
    await until(lambda: world.store.get(agent.id).reboot.told_at is not None)
    part.cancel()
    with pytest.raises(asyncio.CancelledError):
        await part
    world.boot()
    assert (await world.reboots.rollouts.reboot(agent)).detail == "it has booted meanwhile"
