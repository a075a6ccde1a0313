"""The pauses of the node's scripts, by the shells of a developer's machine and of a node."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.bundles import ROOT

COMMON = ROOT / "images/node/root/usr/lib/bootserve/common"


@pytest.mark.parametrize("shell", ["sh", "busybox sh"])
@pytest.mark.parametrize(
    ("seconds", "least", "most", "several"), [(60, 30, 89, 10), (4, 2, 5, 2), (3, 1, 3, 2)]
)
def test_a_pause_is_between_half_and_one_and_a_half_and_no_two_nodes_have_the_same(
    shell: str, seconds: int, least: int, most: int, several: int
) -> None:
    commands = f"set -u; . {COMMON}; for i in $(seq 60); do jitter {seconds}; done"
    argv = [*shell.split(), "-c", commands]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    pauses = [int(line) for line in said.splitlines()]
    assert len(pauses) == 60
    assert least <= min(pauses) <= max(pauses) <= most
    assert len(set(pauses)) >= several
