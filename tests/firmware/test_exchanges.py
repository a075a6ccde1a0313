"""Real firmware before a network that is played to it frame by frame, by a user without rights."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.firmware.cases import CASES, HEADINGS, Case, row
from tests.firmware.exchange import Seen
from tests.firmware.unprivileged import NOBODY

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def own_folder() -> Iterator[str]:
    """A folder for files of the user that plays; pytest's own are closed to all but root."""
    with tempfile.TemporaryDirectory(prefix="fw-", dir="/tmp") as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder


def play(case: Case) -> Any:
    """Play ``case`` in a process that has given up all rights; return what it printed."""
    with (
        own_folder() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.firmware.unprivileged", case.name],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that its QEMU ends with it, however this ends
        ) as process,
    ):
        try:
            said, _ = process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0
    return json.loads(said)


def assert_without_rights(who: dict[str, Any]) -> None:
    assert 0 not in who["Uid"]
    assert 0 not in who["Gid"]
    if os.geteuid() == 0:
        assert (who["Uid"], who["Gid"], who["Groups"]) == ([NOBODY] * 4, [NOBODY] * 4, [])
    assert [who[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0] * 4
    assert who["NoNewPrivs"] == 1, "no program that it starts gains any"


@pytest.mark.vm
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[] if case.quick else [pytest.mark.matrix])
        for case in CASES
    ],
)
def test_the_firmware_does_what_it_was_seen_to_do(case: Case) -> None:
    played = play(case)
    seen = Seen(**played["seen"])
    assert case.is_as(seen), seen
    player, qemu = played["who"]
    assert_without_rights(player)
    assert_without_rights(qemu)


def test_the_table_in_the_docs_is_this_one() -> None:
    text = (ROOT / "docs/firmware.md").read_text()
    table = text.partition("<!-- seen -->\n")[2].partition("<!-- end of seen -->")[0]
    rule = "| --- " * len(HEADINGS) + "|"
    lines = [f"| {' | '.join(HEADINGS)} |", rule, *(row(case) for case in CASES)]
    assert table.splitlines() == lines


def test_no_case_is_there_twice() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_each_event_is_tried_on_each_firmware() -> None:
    tried = {(case.firmware, case.shape, case.main, case.ours) for case in CASES}
    wanted = {
        (*client, *event)
        for client in (
            ("bios", "pxe10"),
            ("uefi", "pxe10"),
            ("uefi", "binl"),
            ("uefi-http", "pxe10"),
        )
        for event in (
            ("address", "after 5 s"),
            ("address", "after the ACK"),
            ("address", "twice"),
            ("address", "without 54"),
            ("60 without 43", "at once"),
            ("a file", "at once"),
        )
    }
    assert wanted - tried == set()
    assert {case.firmware for case in CASES if case.quick} == {"bios", "uefi", "uefi-http"}
