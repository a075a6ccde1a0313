"""A minute of fuzzing, what was once found, and the proof that the fuzzer finds what is there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz.runner import ROOT, fuzz
from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
SECONDS = 60 // len(TARGETS)
"""For each of the targets: a minute in all."""

BUGS = {
    "option-length": ("dhcp", "IndexError", 200_000),
    "number-unguarded": ("tftp", "ValueError", 400_000),
    "name-not-latin": ("tftp", "UnicodeDecodeError", 200_000),
}
"""Patches that bring a bug back: the target that meets it, what is raised, inputs to find it in."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    outcome = fuzz(name, seconds=SECONDS)
    assert outcome.error == "", f"{outcome.input!r}\n{outcome.output[-3000:]}"
    assert outcome.executions > len(TARGETS[name].seeds())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_was_once_found_pass(name: str) -> None:
    target = TARGETS[name]
    found = [path.read_bytes() for path in sorted((HERE / "found").glob(f"{name}-*"))]
    assert target.seeds()
    for data in (*target.seeds(), *found):
        target.run(data)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_that_is_brought_back_is_found(bug: str, tmp_path: Path) -> None:
    target, raised, runs = BUGS[bug]
    shutil.copytree(ROOT / "bootserve", tmp_path / "bootserve")
    patch = HERE / f"bugs/{bug}.patch"
    subprocess.run(["patch", "-p1", "-s", "-i", str(patch)], cwd=tmp_path, check=True)
    outcome = fuzz(target, runs=runs, seed=1, package=tmp_path)
    assert outcome.error.startswith(raised), outcome.output[-3000:]
    TARGETS[target].run(outcome.input)  # without the bug it is no finding
