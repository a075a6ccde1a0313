"""The server is killed 100 times while 1,000 clients write: nothing acknowledged is lost.

That is ``make test-long``; ``make test`` has a fourth of the kills and of the clients, in the same
proportion.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from vm_harness.lab import Lab

from tests.support.api import Admin

NODES = 20
SECONDS = 120.0
MAC = "02:00:00:44:{:02x}:{:02x}"


@dataclass(frozen=True)
class Size:
    """``writes`` clients, at most so many ``connections`` at once, while so many ``kills`` come."""

    kills: int
    writes: int
    connections: int


QUICK = Size(kills=25, writes=250, connections=100)
WHOLE = Size(kills=100, writes=1000, connections=1000)


class Victim:
    """A server that is started and killed again and again."""

    def __init__(self, lab: Lab, state_dir: Path) -> None:
        self.log = state_dir.parent / "server.log"
        self.socket = state_dir / "admin.sock"
        server = lab.bootserve(state_dir=state_dir)
        command = server.namespace.command(
            [sys.executable, "-m", "tests.service.spawner", server.interface]
        )
        self._spawner = subprocess.Popen(
            [*command, str(state_dir), str(self.log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self._pid = 0

    def start(self) -> None:
        assert self._spawner.stdin
        assert self._spawner.stdout
        self._spawner.stdin.write("\n")
        self._spawner.stdin.flush()
        self._pid = int(self._spawner.stdout.readline())

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def end(self) -> None:
        self._spawner.communicate(timeout=30)

    def tail(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-15:])


@dataclass
class Writers:
    """Clients at once, each with one write that it repeats until it is acknowledged.

    ``begun`` are those that a kill ended before their end was on record, and ``refused`` counts
    what else was answered.
    """

    victim: Victim
    size: Size
    acknowledged: dict[int, Any] = field(default_factory=dict)
    up: asyncio.Event = field(default_factory=asyncio.Event)
    begun: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        connector = aiohttp.UnixConnector(str(self.victim.socket), limit=self.size.connections)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(self._write(session, n) for n in range(self.size.writes)))

    async def _write(self, session: aiohttp.ClientSession, n: int) -> None:
        method, path, body = write(n)
        url = f"http://localhost/api/v1{path}"
        while n not in self.acknowledged:
            await self.up.wait()
            # what was begun and not known to be done has this client ask anew, as it is told to
            headers = {"Idempotency-Key": f"write-number-{n:08d}-{self.begun[n]}"}
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                async with session.request(method, url, json=body, headers=headers) as answer:
                    said = await answer.json(content_type=None)
                    if answer.status < 300:
                        self.acknowledged[n] = said
                    elif said["type"] == "urn:bootserve:problem:outcome-unknown":
                        self.begun[n] += 1
                    else:
                        self.refused[f"{answer.status} {said['detail']}"] += 1
            await asyncio.sleep(0.02)


def write(n: int) -> tuple[str, str, dict[str, Any]]:
    """Return the method, path and body of write ``n``: eight of ten make a revision."""
    message = {"message": f"write {n}"}
    match n % 10:
        case 0:
            return "PUT", f"/nodes/n{n // 10 % NODES}/boot-once", {"action": "local"}
        case 1:
            return "POST", f"/nodes/n{n // 10 % NODES}/release", {}
        case 2:
            mac = MAC.format(n // 256, n % 256)
            return "POST", "/nodes", {"name": f"new{n}", "macs": [mac], **message}
        case _:
            return "PUT", f"/racks/r{n}", {"kernel_args": f"number={n}", **message}


async def answers(path: Path) -> None:
    """Wait until something takes connections at ``path``."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(str(path))
                writer.close()
                return
            await asyncio.sleep(0.005)


async def kill_again_and_again(victim: Victim, writers: Writers) -> None:
    dice = random.Random(4711)
    for _ in range(writers.size.kills):
        victim.start()
        if dice.random() < 0.1:  # in the midst of its start
            await asyncio.sleep(dice.random() * 0.3)
        else:
            await answers(victim.socket)
            writers.up.set()
            goal = len(writers.acknowledged) + dice.randrange(16)
            async with asyncio.timeout(SECONDS):
                while len(writers.acknowledged) < goal:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        victim.kill()
        writers.up.clear()
        victim.socket.unlink(missing_ok=True)
    assert len(writers.acknowledged) < writers.size.writes, "the writes ended before the kills did"
    victim.start()
    await answers(victim.socket)
    writers.up.set()


async def storm(victim: Victim, size: Size) -> Writers:
    writers = Writers(victim, size)
    work = asyncio.create_task(writers.run())
    try:
        await kill_again_and_again(victim, writers)
        async with asyncio.timeout(SECONDS):
            await work
    except TimeoutError:
        raise AssertionError(f"{len(writers.acknowledged)} done\n{victim.tail()}") from None
    finally:
        work.cancel()
    return writers


@pytest.fixture
def victim(lab: Lab, tmp_path: Path) -> Iterator[Victim]:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    one = Victim(lab, state)
    yield one
    one.end()


def pages(admin: Admin, path: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = admin.call("GET", f"{path}limit=1000&cursor={cursor}")
        found += answer[name]
        cursor = answer["next"]
        if not cursor:
            return found


@pytest.mark.parametrize(
    "size",
    [pytest.param(QUICK, id="quick"), pytest.param(WHOLE, id="whole", marks=pytest.mark.matrix)],
)
@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost(
    victim: Victim, tmp_path: Path, tell: Callable[[str], None], size: Size
) -> None:
    admin = Admin(tmp_path / "state")
    victim.start()
    asyncio.run(answers(victim.socket))
    for n in range(NODES):
        admin.call("POST", "/nodes", name=f"n{n}", macs=[MAC.format(0xEE, n)], message="before")
    started = time.monotonic()
    victim.kill()
    victim.socket.unlink(missing_ok=True)
    writers = asyncio.run(storm(victim, size))
    tell(
        f"{size.kills} kills in {time.monotonic() - started:.1f} s, begun: {writers.begun.total()}"
    )
    assert len(writers.acknowledged) == size.writes
    assert not writers.refused
    # a commit is there or is not: never is its outcome unknown
    assert {n % 10 for n in writers.begun} <= {0, 1}

    revisions = pages(admin, "/revisions?", "revisions")
    assert [one["number"] for one in revisions] == list(range(len(revisions) - 1, -1, -1))
    messages = Counter(one["message"] for one in revisions)
    assert {text for text, times in messages.items() if times > 1} == {"before"}
    check_acknowledged(admin, writers, {one["number"]: one["message"] for one in revisions})
    check_audit(admin, revisions, size)


def check_acknowledged(admin: Admin, writers: Writers, messages: dict[int, str]) -> None:
    racks = {one["name"]: one["kernel_args"] for one in pages(admin, "/racks?", "racks")}
    nodes = {one["name"] for one in pages(admin, "/nodes?", "nodes")}
    recorded = pages(admin, "/audit?kind=boot-once&", "records")
    onces = {one["detail"]["id"] for one in recorded}
    for n, said in writers.acknowledged.items():
        match n % 10:
            case 0:
                assert said["id"] in onces
            case 1:
                assert said["node"]
            case 2:
                assert f"new{n}" in nodes
                assert messages[said["revision"]["number"]] == f"write {n}"
            case _:
                assert racks[f"r{n}"] == f"number={n}"
                assert messages[said["revision"]["number"]] == f"write {n}"


def check_audit(admin: Admin, revisions: list[dict[str, Any]], size: Size) -> None:
    verdict = admin.call("POST", "/audit/verify")
    assert verdict["intact"], json.dumps(verdict["findings"][:5])
    records = pages(admin, "/audit?chain=changes&", "records")
    told = [one for one in records if one["kind"] == "revision"]
    assert [one["revision"] for one in told] == [one["number"] for one in revisions[:-1]]
    assert [one["message"] for one in told] == [one["message"] for one in revisions[:-1]]
    releases = [one for one in records if one["kind"] == "release"]
    # one whose answer was lost is done, and recorded, again
    assert len(releases) >= size.writes // 10
    starts = [one for one in records if one["kind"] == "server"]
    assert len(starts) > size.kills // 2
