"""What a namespace's processes use is counted for all of them, and none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vm_harness.errors import HarnessError
from vm_harness.net import Namespace, end_processes

from bench.loads import CORES
from bench.network import PREFIX, Pair, sweep
from bench.processes import cpu_seconds, pin, pss_bytes

pytestmark = pytest.mark.netns
BUSY = f"{sys.executable} -c 'sum(range(20_000_000))'"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    pair = Pair("used")
    try:
        yield pair.create()
    finally:
        pair.remove()


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_children_count_while_they_run_and_when_they_have_ended(pair: Pair, tmp_path: Path) -> None:
    done = tmp_path / "done"
    argv = ["sh", "-c", f"{BUSY}; touch {done}; sleep 600 & sleep 600"]
    with (tmp_path / "log").open("wb") as log:
        process = pair.server.spawn(argv, log=log)
    wait_for(done.exists)
    assert cpu_seconds(pair.server) > 0.05
    wait_for(lambda: len(pair.server.pids()) == 3)
    whole = pss_bytes(pair.server)
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pair.server.pids()]
    each = [int(text.split("Pss:")[1].split()[0]) * 1024 for text in rollups]
    assert max(each) < whole < 2 * sum(each)
    pin(pair.server, CORES[:1])
    assert {frozenset(os.sched_getaffinity(pid)) for pid in pair.server.pids()} == {
        frozenset(CORES[:1])
    }
    end_processes([pair.server])
    process.wait(10)
    assert cpu_seconds(pair.server) == pss_bytes(pair.server) == 0


def test_a_generator_that_ends_too_early_is_an_error(pair: Pair, tmp_path: Path) -> None:
    values = {"name": "x", "file": "/no_such"}
    with (
        pytest.raises(
            HarnessError, match=r"tftpload (ended too early|printed no figures): .*/no_such"
        ),
        pair.background("tftpload", tmp_path / "out", before=[], **values),
    ):
        wait_for(lambda: "no_such" in (tmp_path / "out").read_text() and not pair.client.pids())


def test_what_a_killed_run_left_is_swept_and_what_runs_is_not(pair: Pair) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = Namespace(f"{PREFIX}{ended.pid}-1-s")
    left.create()
    sweep()
    assert not left.exists
    assert pair.server.exists
