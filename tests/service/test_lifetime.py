"""A part of the server that dies ends the server: systemd starts it anew, whole."""

from __future__ import annotations

import asyncio
import sys

import pytest
import structlog

from bootserve.service.lifetime import Lifetime, Together
from tests.service.conftest import Servers

BROKEN = """
import sys

from bootserve.cli.main import main
from bootserve.service import run

async def dies(_self, _hours):
    raise RuntimeError("a fault in a part")

run.Scrubber.run = dies
sys.exit(main())
"""


def test_a_server_ends_with_a_part_that_dies_and_says_which(servers: Servers) -> None:
    server = servers.make()
    server.command = [sys.executable, "-c", BROKEN]
    server.start()
    assert server.process.wait(60) == 1
    log = server.log_text()
    assert '"task": "dies"' in log
    assert "RuntimeError: a fault in a part" in log
    assert '"event": "stopped"' in log  # in order, for all that


async def test_what_ends_at_its_turn_is_no_failure() -> None:
    stop, done = asyncio.Event(), list[str]()
    logged = structlog.testing.LogCapture()

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append(name)

    async def short() -> None:
        done.append("short")

    async with Lifetime(stop, structlog.wrap_logger(None, processors=[logged])) as stack:
        for name in ("first", "second"):
            stack.background(work(name))
        stack.background(short())
        await asyncio.sleep(0)
    assert done == ["short", "second", "first"]
    assert (stack.failed, stop.is_set(), logged.entries) == (False, False, [])


async def test_what_ends_together_ends_whole_though_one_fails() -> None:
    together, arrived, done = Together(), asyncio.Barrier(3), list[str]()

    async def end(name: str) -> None:
        await arrived.wait()  # which none passes before all are there
        if name == "second":
            raise OSError("no")
        await asyncio.sleep(0)
        done.append(name)

    for name in ("first", "second", "third"):
        together.add(lambda name=name: end(name))  # type: ignore[misc]
    with pytest.raises(OSError, match="no"):
        await together.end()
    assert sorted(done) == ["first", "third"]
